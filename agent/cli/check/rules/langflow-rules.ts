import { faultOfSecretKey } from '../../../launcher/workload-environment.ts'
import { asList, asText, dig, type Fields } from '../../manifests/manifest.ts'
import { inOneNamespace, looksLikeLangflow, repositoryOf } from '../../manifests/workload.ts'
import { LOG_ENV, lacksLogEnv, variableOf } from '../container-environment.ts'
import { type Installation, mountAt } from '../installation.ts'
import type { Facts, Rule } from '../rule.ts'

const DATABASE_URL = 'LANGFLOW_DATABASE_URL'

/** Images that charts run beside LangFlow, and that an earlier search mistook for LangFlow. */
const OTHERS =
  /(^|\/)(nginx(-unprivileged)?|httpd|caddy|haproxy|traefik|envoy|postgres(ql)?|pgbouncer|redis|valkey|langflow-frontend)$/

export const FOUND_RULES: readonly Rule<Facts>[] = [
  {
    code: 'langflow-found',
    severity: 'error',
    about: 'a workload runs LangFlow',
    *find({ unfound, cluster }) {
      if (unfound === null) return
      const isHidden = cluster?.hidden.has('Deployment') || cluster?.hidden.has('StatefulSet')
      yield isHidden ? { unknown: unfound } : unfound
    },
  },
]

/** About LangFlow itself, with or without an agent. */
export const LANGFLOW_RULES: readonly Rule<Installation>[] = [
  {
    code: 'langflow-image',
    severity: 'error',
    about: 'the container that check found runs LangFlow',
    *find({ langflow, container }) {
      const image = asText(langflow.image)
      if (OTHERS.test(repositoryOf(langflow)))
        yield `its container ${container} runs ${image}, which is not LangFlow: set the name of LangFlow's container with --container`
      else if (!looksLikeLangflow(langflow))
        yield {
          warning: `its container ${container} (${image}) counts as LangFlow's, because the pod has no other container: if this is wrong, set the name of LangFlow's container with --container`,
        }
    },
  },
  {
    code: 'replicas-one',
    severity: 'warning',
    about: 'there is a second replica to take over',
    *find({ replicas }) {
      if (replicas === 1) yield 'it has one replica, so no replica can take over: set replicas to 2 or more'
    },
  },
  {
    code: 'database-shared',
    severity: 'error',
    about: 'all replicas use the same database',
    applies: ({ replicas }) => replicas > 1,
    *find(one) {
      const { replicas, langflow, env } = one
      const url = variableOf(langflow, env, DATABASE_URL)
      const claim = claimAt(one, sqliteFile(one))
      if (claim !== null)
        yield {
          warning: `its ${replicas} replicas share one SQLite file on the claim ${claim}, whose locks are unreliable on a network file system, so a takeover may damage it: set ${DATABASE_URL} to one PostgreSQL for all replicas`,
        }
      else if (/^sqlite/i.test(url.value ?? ''))
        yield `each of its ${replicas} replicas has its own SQLite database (${DATABASE_URL}), so a new leader does not have the flows: set ${DATABASE_URL} to one PostgreSQL for all replicas`
      else if (url.isSet === null)
        yield { unknown: `${url.why}, and without it each pod has its own SQLite database` }
      else if (url.isSet) return
      else if (variableOf(langflow, env, 'LANGFLOW_LOAD_FLOWS_PATH').isSet)
        yield {
          warning: `its flows come from files, but each pod has its own SQLite database, so a new leader does not have the messages, users and stored keys: set ${DATABASE_URL} to one PostgreSQL for all replicas, unless you need none of these`,
        }
      else
        yield `each of its ${replicas} replicas has its own SQLite database, so a new leader does not have the flows: set ${DATABASE_URL} to one PostgreSQL for all replicas`
    },
  },
  {
    code: 'secret-key',
    severity: 'error',
    about: 'LANGFLOW_SECRET_KEY is a valid key for encryption',
    *find({ env, langflow, replicas }) {
      const key = variableOf(langflow, env, 'LANGFLOW_SECRET_KEY')
      const fault = faultOfSecretKey(['langflow run'], env.values)
      if (key.value === null && key.isSet !== false) yield { unknown: key.why }
      else if (fault !== null) yield key.value === null && replicas < 2 ? { warning: fault } : fault
    },
  },
  {
    code: 'variable-sources',
    severity: 'error',
    about: 'every Secret and ConfigMap that sets a variable exists',
    *find({ env, agent }) {
      const all = [...env.missing, ...(agent?.env.missing ?? [])]
      const byName = Map.groupBy(all, ({ kind, name }) => `${kind} "${name}"`)
      for (const [object, missing] of byName) {
        const wanting = new Set(missing.map(({ variable }) => variable ?? 'envFrom'))
        yield `${object} does not exist (${[...wanting].join(', ')}), so no pod starts: create it`
      }
    },
  },
  {
    code: 'auto-login',
    severity: 'warning',
    about: 'LangFlow requires users to log in',
    *find({ env, langflow }) {
      const login = variableOf(langflow, env, 'LANGFLOW_AUTO_LOGIN')
      if (login.value === null && login.isSet !== false) yield { unknown: login.why }
      if (isTruth(login.value))
        yield 'with LANGFLOW_AUTO_LOGIN, every client is a superuser and can run any code: remove the variable, and set LANGFLOW_SUPERUSER_PASSWORD'
    },
  },
  {
    code: 'log-env',
    severity: 'warning',
    about: 'LangFlow answers while its database is unavailable',
    *find({ langflow, env }) {
      if (lacksLogEnv(langflow, env))
        yield `while its database is unavailable, LangFlow's default log blocks its answers for minutes, so the agent counts it as failed: set ${LOG_ENV.name} to ${LOG_ENV.value}`
    },
  },
  {
    code: 'local-files',
    severity: 'warning',
    about: 'a new leader has the files that users uploaded',
    applies: ({ replicas }) => replicas > 1,
    *find(one) {
      const { langflow, env } = one
      const type = variableOf(langflow, env, 'LANGFLOW_STORAGE_TYPE')
      if (type.isSet === null || (type.value ?? 'local') !== 'local') return
      if (variableOf(langflow, env, DATABASE_URL).isSet === false) return
      // The rule volume-shared checks whether all replicas can mount the claim.
      if (claimAt(one, env.values.LANGFLOW_CONFIG_DIR ?? '') !== null) return
      yield 'files that users upload stay in the pod of the leader at that time: set LANGFLOW_STORAGE_TYPE to s3, or mount one ReadWriteMany volume at LANGFLOW_CONFIG_DIR, unless no user uploads any (docs/guide/state.md)'
    },
  },
  {
    code: 'volume-shared',
    severity: 'error',
    about: 'every replica can mount its volumes',
    applies: ({ replicas }) => replicas > 1,
    *find({ manifest, spec, pod, replicas }, { manifests, cluster }) {
      for (const volume of asList(pod.volumes)) {
        const claim = sharedClaim(spec, volume)
        if (claim === null) continue
        const found = manifests.find(
          (one) =>
            one.kind === 'PersistentVolumeClaim' && one.name === claim && inOneNamespace(one, manifest),
        )
        const modes = asList(dig(found?.value, 'spec', 'accessModes'))
        if (found === undefined)
          yield {
            unknown:
              cluster?.hidden.get('PersistentVolumeClaim') ??
              `the PersistentVolumeClaim ${claim} is not among the known objects`,
          }
        else if (!modes.some((mode) => mode === 'ReadWriteMany' || mode === 'ReadOnlyMany'))
          yield `its ${replicas} replicas share the claim ${claim}, which only one ${modes.includes('ReadWriteOncePod') ? 'pod' : 'node'} can mount (${modes.join(', ')}), so a second replica never starts: use a ReadWriteMany claim, or remove the claim if LangFlow uses PostgreSQL`
      }
    },
  },
]

/** The values that pydantic reads as true. */
function isTruth(value: string | null | undefined): boolean {
  return /^(1|t|true|y|yes|on)$/i.test(value ?? '')
}

/** The path of LangFlow's SQLite database; '' if it is in the container's own file system, or if there is no SQLite database. */
function sqliteFile({ langflow, env }: Installation): string {
  const { value, isSet } = variableOf(langflow, env, DATABASE_URL)
  if (value !== null) return /^sqlite(?:\+\w+)?:\/\/\/(\/[^?]*)/i.exec(value)?.[1]?.replace(/^\/+/, '/') ?? ''
  const { LANGFLOW_SAVE_DB_IN_CONFIG_DIR: isSaved, LANGFLOW_CONFIG_DIR: directory = '' } = env.values
  return isSet === false && isTruth(isSaved) ? directory : ''
}

/** The claim that all replicas mount at this path; `null` if each replica has its own files there. */
function claimAt({ spec, pod, langflow }: Installation, path: string): string | null {
  const mount = mountAt(langflow, path)
  const volume = asList(pod.volumes).find((one) => dig(one, 'name') === mount?.volume)
  return sharedClaim(spec, volume)
}

/** The claim that all replicas share; `null` if there is no claim, or if a template gives each replica its own claim. */
function sharedClaim(spec: Readonly<Fields>, volume: unknown): string | null {
  const own = asList(spec.volumeClaimTemplates).some(
    (one) => dig(one, 'metadata', 'name') === dig(volume, 'name'),
  )
  return own ? null : asText(dig(volume, 'persistentVolumeClaim', 'claimName')) || null
}

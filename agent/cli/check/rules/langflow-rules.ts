import { faultOfSecretKey } from '../../../launcher/workload-environment.ts'
import { asList, asText, dig, type Fields } from '../../manifests/manifest.ts'
import { inOneNamespace, looksLikeLangflow, repositoryOf } from '../../manifests/workload.ts'
import { LOG_ENV, lacksLogEnv, variableOf } from '../container-environment.ts'
import { type Installation, mountAt } from '../installation.ts'
import type { Facts, Rule } from '../rule.ts'

const DATABASE_URL = 'LANGFLOW_DATABASE_URL'

/** Images that charts run beside LangFlow, and that were taken for it. */
const OTHERS =
  /(^|\/)(nginx(-unprivileged)?|httpd|caddy|haproxy|traefik|envoy|postgres(ql)?|pgbouncer|redis|valkey|langflow-frontend)$/

export const FOUND_RULES: readonly Rule<Facts>[] = [
  {
    code: 'langflow-found',
    severity: 'error',
    about: 'there is a LangFlow',
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
    about: 'what was taken for LangFlow is LangFlow',
    *find({ langflow, container }) {
      const image = asText(langflow.image)
      if (OTHERS.test(repositoryOf(langflow)))
        yield `its container ${container} runs ${image}, which is no LangFlow: name LangFlow's with --container`
      else if (!looksLikeLangflow(langflow))
        yield {
          warning: `its container ${container} (${image}) was taken for LangFlow because there is no other: if it is none, name LangFlow's with --container`,
        }
    },
  },
  {
    code: 'replicas-one',
    severity: 'warning',
    about: 'there is a replica that could take over',
    *find({ replicas }) {
      if (replicas === 1) yield 'it has one replica, so that none can take over: set replicas to 2 or more'
    },
  },
  {
    code: 'database-shared',
    severity: 'error',
    about: 'all replicas have one database',
    applies: ({ replicas }) => replicas > 1,
    *find(one) {
      const { replicas, langflow, env } = one
      const url = variableOf(langflow, env, DATABASE_URL)
      const claim = claimAt(one, sqliteFile(one))
      if (claim !== null)
        yield {
          warning: `its ${replicas} replicas share one SQLite file on the claim ${claim}: the locks of a network file system are not to be relied on, so that it may break at a takeover: set ${DATABASE_URL} to one PostgreSQL`,
        }
      else if (/^sqlite/i.test(url.value ?? ''))
        yield `its ${replicas} replicas have a SQLite database each (${DATABASE_URL}), so that flows do not follow the leader: name one PostgreSQL for all of them`
      else if (url.isSet === null)
        yield { unknown: `${url.why}, and without it each pod has a SQLite of its own` }
      else if (url.isSet) return
      else if (variableOf(langflow, env, 'LANGFLOW_LOAD_FLOWS_PATH').isSet)
        yield {
          warning: `its flows come from files, and all else (messages, users, stored keys) is in a SQLite of each pod's own, which does not follow the leader: set ${DATABASE_URL} to one PostgreSQL, unless nothing else is kept`,
        }
      else
        yield `its ${replicas} replicas have a SQLite database each, so that flows do not follow the leader: set ${DATABASE_URL} to one PostgreSQL for all of them`
    },
  },
  {
    code: 'secret-key',
    severity: 'error',
    about: 'LANGFLOW_SECRET_KEY is one that LangFlow can encrypt with',
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
    about: 'every Secret and ConfigMap that variables come from exists',
    *find({ env, agent }) {
      const all = [...env.missing, ...(agent?.env.missing ?? [])]
      const byName = Map.groupBy(all, ({ kind, name }) => `${kind} "${name}"`)
      for (const [object, missing] of byName) {
        const wanting = new Set(missing.map(({ variable }) => variable ?? 'envFrom'))
        yield `there is no ${object} (${[...wanting].join(', ')}), so that no pod starts: make it`
      }
    },
  },
  {
    code: 'auto-login',
    severity: 'warning',
    about: 'LangFlow asks users to log in',
    *find({ env, langflow }) {
      const login = variableOf(langflow, env, 'LANGFLOW_AUTO_LOGIN')
      if (login.value === null && login.isSet !== false) yield { unknown: login.why }
      if (isTruth(login.value))
        yield 'with LANGFLOW_AUTO_LOGIN every client is its superuser, who runs any code: remove it, and set LANGFLOW_SUPERUSER_PASSWORD'
    },
  },
  {
    code: 'log-env',
    severity: 'warning',
    about: 'LangFlow still answers while its database is away',
    *find({ langflow, env }) {
      if (lacksLogEnv(langflow, env))
        yield `while its database is away, its default log keeps LangFlow from answering for minutes, so that it is taken for dead: set ${LOG_ENV.name} to ${LOG_ENV.value}`
    },
  },
  {
    code: 'local-files',
    severity: 'warning',
    about: 'files that users upload follow the leader',
    applies: ({ replicas }) => replicas > 1,
    *find(one) {
      const { langflow, env } = one
      const type = variableOf(langflow, env, 'LANGFLOW_STORAGE_TYPE')
      if (type.isSet === null || (type.value ?? 'local') !== 'local') return
      if (variableOf(langflow, env, DATABASE_URL).isSet === false) return
      // Whether all replicas can mount it is for another rule.
      if (claimAt(one, env.values.LANGFLOW_CONFIG_DIR ?? '') !== null) return
      yield 'files that users upload stay in the pod that led at the time: set LANGFLOW_STORAGE_TYPE to s3, or mount one ReadWriteMany volume at LANGFLOW_CONFIG_DIR, unless no user uploads any'
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
              `there is no PersistentVolumeClaim ${claim} here`,
          }
        else if (!modes.some((mode) => mode === 'ReadWriteMany' || mode === 'ReadOnlyMany'))
          yield `its ${replicas} replicas share the claim ${claim}, which only one ${modes.includes('ReadWriteOncePod') ? 'pod' : 'node'} can mount (${modes.join(', ')}), so that another one never starts: use a ReadWriteMany claim, or none if there is a PostgreSQL`
      }
    },
  },
]

/** As pydantic reads it. */
function isTruth(value: string | null | undefined): boolean {
  return /^(1|t|true|y|yes|on)$/i.test(value ?? '')
}

/** Where LangFlow has its SQLite; '': in its own container, or in none. */
function sqliteFile({ langflow, env }: Installation): string {
  const { value, isSet } = variableOf(langflow, env, DATABASE_URL)
  if (value !== null) return /^sqlite(?:\+\w+)?:\/\/\/(\/[^?]*)/i.exec(value)?.[1]?.replace(/^\/+/, '/') ?? ''
  const { LANGFLOW_SAVE_DB_IN_CONFIG_DIR: isSaved, LANGFLOW_CONFIG_DIR: directory = '' } = env.values
  return isSet === false && isTruth(isSaved) ? directory : ''
}

/** The claim that a container of all replicas has at this path; `null`: each has files of its own there. */
function claimAt({ spec, pod, langflow }: Installation, path: string): string | null {
  const mount = mountAt(langflow, path)
  const volume = asList(pod.volumes).find((one) => dig(one, 'name') === mount?.volume)
  return sharedClaim(spec, volume)
}

/** The claim that all replicas share; `null`: none, or each has one of its own by a template. */
function sharedClaim(spec: Readonly<Fields>, volume: unknown): string | null {
  const own = asList(spec.volumeClaimTemplates).some(
    (one) => dig(one, 'metadata', 'name') === dig(volume, 'name'),
  )
  return own ? null : asText(dig(volume, 'persistentVolumeClaim', 'claimName')) || null
}

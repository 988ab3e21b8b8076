import { faultOfSecretKey } from '../../../launcher/workload-environment.ts'
import { asFields, asList, asText, dig, type Fields, isFields } from '../../manifests/manifest.ts'
import { inOneNamespace, looksLikeLangflow, repositoryOf } from '../../manifests/workload.ts'
import { type Environment, isAbsent, LOG_ENV, lacksLogEnv } from '../container-environment.ts'
import { type Installation, mountAt } from '../installation.ts'
import type { LangflowRule } from '../rule.ts'

const SECRET_KEY = 'LANGFLOW_SECRET_KEY'
const DATABASE_URL = 'LANGFLOW_DATABASE_URL'
const AUTO_LOGIN = 'LANGFLOW_AUTO_LOGIN'

/** What stands in charts beside LangFlow, or is taken for it. */
const OTHERS =
  /(^|\/)(nginx(-unprivileged)?|httpd|caddy|haproxy|traefik|envoy|postgres(ql)?|pgbouncer|redis|valkey|langflow-frontend)$/

/** About LangFlow itself, whatever runs beside it. */
export const LANGFLOW_RULES = {
  'langflow-image': {
    severity: 'error',
    about: 'what was taken for LangFlow is LangFlow',
    *find({ langflow, container }) {
      const image = asText(langflow.image)
      if (OTHERS.test(repositoryOf(langflow)))
        yield `its container ${container} runs ${image}, which is no LangFlow: name LangFlow's with --container`
      else if (!looksLikeLangflow(langflow))
        yield {
          warning: `its container ${container} (${image}) was taken for LangFlow, since there is no other: where it is none, name LangFlow's with --container`,
        }
    },
  },
  'replicas-one': {
    severity: 'warning',
    about: 'there is a replica that could take over',
    *find({ replicas }) {
      if (replicas === 1) yield 'it has one replica, so that none can take over: set replicas to 2 or more'
    },
  },
  'database-shared': {
    severity: 'error',
    about: 'all replicas have one database',
    *find(one) {
      const { replicas, env } = one
      const url = env.values[DATABASE_URL]
      if (replicas < 2) return
      const claim = claimAt(one, sqliteFile(one))
      if (claim !== null) {
        yield {
          warning: `its ${replicas} replicas share one SQLite file on the claim ${claim}: the locks of a network file system are not to be relied on, so that it may break at a takeover: set ${DATABASE_URL} to one PostgreSQL`,
        }
        return
      }
      if (url !== undefined && /^sqlite/i.test(url))
        yield `its ${replicas} replicas have a SQLite database each (${DATABASE_URL}), so that flows do not follow the leader: name one PostgreSQL for all of them`
      const isUnset = isAbsent(env, DATABASE_URL)
      if (isUnset === null)
        yield {
          unknown: `whether all replicas have one database is not to be seen: ${DATABASE_URL} may come from ${placeOf(env, DATABASE_URL)}, and without it each pod has a SQLite of its own`,
        }
      if (isUnset !== true) return
      if (mentions(one, DATABASE_URL))
        yield {
          unknown: `whether all replicas have one database is not to be seen: its own command sets ${DATABASE_URL}`,
        }
      else if (isAbsent(env, 'LANGFLOW_LOAD_FLOWS_PATH') === false)
        yield {
          warning: `its flows come from files, and all else (messages, users, stored keys) is in a SQLite of each pod's own, which does not follow the leader: set ${DATABASE_URL} to one PostgreSQL, unless nothing else is kept`,
        }
      else
        yield `its ${replicas} replicas have a SQLite database each, so that flows do not follow the leader: set ${DATABASE_URL} to one PostgreSQL for all of them`
    },
  },
  'secret-key': {
    severity: 'error',
    about: 'LANGFLOW_SECRET_KEY is one that LangFlow can encrypt with',
    *find(one) {
      const { env, langflow, replicas } = one
      const isUnset = isAbsent(env, SECRET_KEY)
      const words = [...asList(langflow.command), ...asList(langflow.args)].map(asText)
      const place = placeOf(env, SECRET_KEY)
      if (isUnset === false && env.values[SECRET_KEY] === undefined) {
        yield { unknown: `whether ${SECRET_KEY} can work is not to be seen: it comes from ${place}` }
        return
      }
      const fault = faultOfSecretKey(['langflow run', ...words], env.values)
      if (fault === null) return
      if (isUnset === null)
        yield { unknown: `whether ${SECRET_KEY} is set is not to be seen: it may come from ${place}` }
      else if (isUnset && mentions(one, SECRET_KEY))
        yield { unknown: `whether ${SECRET_KEY} can work is not to be seen: its own command sets it` }
      else yield isUnset && replicas < 2 ? { warning: fault } : fault
    },
  },
  'variable-sources': {
    severity: 'error',
    about: 'what variables come from exists',
    *find({ env, agent }) {
      const all = [...env.missing, ...(agent?.env.missing ?? [])]
      const byName = Map.groupBy(all, ({ kind, name }) => `${kind} "${name}"`)
      for (const [object, missing] of byName) {
        const wanting = new Set(missing.map(({ variable }) => variable ?? 'envFrom'))
        yield `there is no ${object} (${[...wanting].join(', ')}), so that no pod starts: make it`
      }
    },
  },
  'auto-login': {
    severity: 'warning',
    about: 'LangFlow asks who somebody is',
    *find({ env }) {
      const isUnset = isAbsent(env, AUTO_LOGIN)
      if (isUnset !== true && env.values[AUTO_LOGIN] === undefined)
        yield {
          unknown: `whether LangFlow lets everybody in is not to be seen: ${AUTO_LOGIN} may come from ${placeOf(env, AUTO_LOGIN)}`,
        }
      if (isTruth(env.values[AUTO_LOGIN]))
        yield 'with LANGFLOW_AUTO_LOGIN whoever reaches it is its superuser, who runs any code: remove it, and set LANGFLOW_SUPERUSER_PASSWORD'
    },
  },
  'log-env': {
    severity: 'warning',
    about: 'LangFlow goes on to answer while its database is away',
    *find({ langflow, env }) {
      if (lacksLogEnv(langflow, env))
        yield `while its database is away, its default log keeps LangFlow from answering for minutes, so that it is taken for dead: set ${LOG_ENV.name} to ${LOG_ENV.value}`
    },
  },
  'local-files': {
    severity: 'warning',
    about: 'files that users upload follow the leader',
    *find(one) {
      const { replicas, env } = one
      const type = env.values.LANGFLOW_STORAGE_TYPE ?? 'local'
      if (replicas < 2 || type !== 'local' || isAbsent(env, 'LANGFLOW_STORAGE_TYPE') === null) return
      if (isAbsent(env, DATABASE_URL) === true) return
      // Whether all replicas can mount it is for another rule.
      if (claimAt(one, env.values.LANGFLOW_CONFIG_DIR ?? '') !== null) return
      yield 'files that users upload stay in the pod that led at the time: set LANGFLOW_STORAGE_TYPE to s3, or mount one ReadWriteMany volume at LANGFLOW_CONFIG_DIR, unless nobody uploads any'
    },
  },
  'volume-shared': {
    severity: 'error',
    about: 'every replica can mount its volumes',
    *find({ manifest, spec, pod, replicas }, { manifests, cluster }) {
      if (replicas < 2) return
      for (const volume of asList(pod.volumes)) {
        const claim = sharedClaim(spec, volume)
        if (claim === null) continue
        const found = manifests.find(
          (one) =>
            one.kind === 'PersistentVolumeClaim' && one.name === claim && inOneNamespace(one, manifest),
        )
        if (found === undefined) {
          const hidden = cluster?.hidden.get('PersistentVolumeClaim')
          if (cluster !== null && hidden === undefined)
            yield `there is no PersistentVolumeClaim ${claim}, so that no pod starts: apply one with ReadWriteMany`
          else
            yield {
              unknown: `whether every replica can mount the claim ${claim} is not to be seen: ${hidden ?? 'it is not in this stream'}`,
            }
          continue
        }
        const modes = asList(dig(found.value, 'spec', 'accessModes'))
        if (modes.some((mode) => mode === 'ReadWriteMany' || mode === 'ReadOnlyMany')) continue
        yield `its ${replicas} replicas share the claim ${claim}, which only one ${modes.includes('ReadWriteOncePod') ? 'pod' : 'node'} can mount (${modes.join(', ')}), so that another one never starts: use a ReadWriteMany claim, or none where there is a PostgreSQL`
      }
    },
  },
  'template-text': {
    severity: 'error',
    about: 'the manifests are rendered',
    // What an API server has was rendered; its template text is somebody's own.
    applies: (_, { cluster }) => cluster === null,
    *find({ manifest }, { manifests }) {
      for (const { kind, name, value } of manifests) {
        if (!RENDERED.has(kind) && value !== manifest.value) continue
        const all = [...templateTexts(value, [])]
        // A prompt, or what an application renders itself, may be in a variable.
        const certain = all.find(({ path }) => !/(^|\.)env\.\d+\.value$/.test(path))
        const found = certain ?? all[0]
        if (found === undefined) continue
        const sentence = `${value === manifest.value ? 'it' : `${kind}/${name}`} has text at ${found.path} that nobody rendered (${found.text}): render it first, as helm template, kustomize or envsubst do`
        yield certain === undefined ? { warning: `${sentence}, unless it is meant so` } : sentence
      }
    },
  },
} as const satisfies Record<string, LangflowRule>

/** Whether its own command, such as a shell's script, speaks of a variable. */
function mentions({ langflow }: Installation, variable: string): boolean {
  return [...asList(langflow.command), ...asList(langflow.args)].join(' ').includes(variable)
}

function placeOf({ elsewhere, sources }: Environment, variable: string): string {
  return elsewhere.get(variable)?.from ?? sources.join(' or ')
}

/** As pydantic reads it. */
function isTruth(value: string | undefined): boolean {
  return /^(1|t|true|y|yes|on)$/i.test(value ?? '')
}

/** Where LangFlow has its SQLite; '': in its own container, or in none. */
function sqliteFile(one: Installation): string {
  const { env } = one
  const { values } = env
  const url = values[DATABASE_URL]
  if (url !== undefined)
    return /^sqlite(?:\+\w+)?:\/\/\/(\/[^?]*)/i.exec(url)?.[1]?.replace(/^\/+/, '/') ?? ''
  const isUnset = isAbsent(env, DATABASE_URL) === true && !mentions(one, DATABASE_URL)
  return isUnset && isTruth(values.LANGFLOW_SAVE_DB_IN_CONFIG_DIR) ? (values.LANGFLOW_CONFIG_DIR ?? '') : ''
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

/** Kinds that hold no templates of somebody else's. */
const RENDERED = new Set([
  'Deployment',
  'StatefulSet',
  'Rollout',
  'Service',
  'ServiceAccount',
  'Lease',
  'Role',
  'RoleBinding',
  'PersistentVolumeClaim',
  'NetworkPolicy',
  'PodDisruptionBudget',
  'HorizontalPodAutoscaler',
  'Ingress',
])
/** Scripts have such text of their own, and annotations are anybody's. */
const SCRIPTS = new Set(['command', 'args', 'exec', 'annotations'])

function* templateTexts(value: unknown, path: readonly string[]): Generator<{ path: string; text: string }> {
  if (typeof value === 'string') {
    const [text] = /\{\{.*?\}\}|\$\{\w+\}|<no value>/s.exec(value) ?? []
    if (text !== undefined) yield { path: path.join('.'), text: text.slice(0, 60) }
    return
  }
  for (const [key, one] of Object.entries(Array.isArray(value) ? value : asFields(value))) {
    // YAML reads {{ .Values.image }} as a map whose key is a map.
    if (isFields(value) && /^\{ .* \}$/.test(key))
      yield { path: path.join('.'), text: `{${key}}`.slice(0, 60) }
    else if (!SCRIPTS.has(key)) yield* templateTexts(one, [...path, key])
  }
}

import { isUsableKey } from '../../../launcher/workload-environment.ts'
import { programOf } from '../../manifests/agent-container.ts'
import { asList, asText, dig, type Fields, titleOf } from '../../manifests/manifest.ts'
import { containersIn, isWorkload } from '../../manifests/workload.ts'
import { Environment, isOfPod, Unknown } from '../environment.ts'
import { asInstalled, containersOf, mountAt, objectsOf, othersBefore, volumeOf } from '../facts.ts'
import type { Installation, Rule } from '../rule.ts'
import { isSameLease } from './lease-rules.ts'

const URL_VARIABLE = 'LANGFLOW_DATABASE_URL'

export const STATE_RULES: readonly Rule<Installation>[] = [
  {
    code: 'secret-key',
    about: 'All replicas have one valid key. If not, a new leader cannot read stored credentials.',
    fix: "Set LANGFLOW_SECRET_KEY on all replicas to the same output of `openssl rand -base64 32 | tr '+/' '-_'`.",
    *find({ env, isSingle }) {
      const key = env.value('LANGFLOW_SECRET_KEY')
      if (key === null)
        yield { message: 'LANGFLOW_SECRET_KEY is not set', severity: isSingle ? 'warning' : 'error' }
      else if (isOfPod(key)) yield 'each pod has its own LANGFLOW_SECRET_KEY'
      else if (!isUsableKey(key)) yield 'LANGFLOW_SECRET_KEY is not 32 url-safe base64-encoded bytes'
    },
  },
  {
    code: 'database-shared',
    about: 'All replicas use one PostgreSQL. If not, a new leader does not have the flows.',
    fix: `Set ${URL_VARIABLE} to one PostgreSQL for all replicas.`,
    *find(one) {
      const url = one.env.isSet(URL_VARIABLE) ? one.env.value(URL_VARIABLE)! : ''
      const host = URL.parse(url)?.hostname ?? ''
      if (/\s$/.test(url)) yield `${URL_VARIABLE} ends with a line break or a space`
      if (/^postgres[^?]*:\/\/[^?]*[@/#][^?]*@/.test(url))
        yield `user or password in ${URL_VARIABLE} contain @, / or #, which are %40, %2F and %23 there`
      if (one.isSingle) return
      if (isOfPod(url)) yield `${URL_VARIABLE} depends on the pod`
      else if (url !== '' && !/^[a-z][a-z\d+]*:\/\//i.test(url)) yield `${URL_VARIABLE} is not a URL`
      else if (/^(localhost|127\..*|\[::1\])$/i.test(host)) {
        const isOther = (own: Fields) => own.name !== one.container && programOf(own) === null
        if (!containersOf(one.pod).some(isOther)) yield `${URL_VARIABLE} leads to the pod itself`
        else throw new Unknown(`${URL_VARIABLE} leads to another container of the pod`)
      } else if (url === '' || /^sqlite/i.test(url)) yield 'it uses SQLite'
    },
  },
  {
    code: 'database-exclusive',
    about: 'Each Lease has its own database. If not, two leaders act on the same state.',
    fix: 'Give each Lease its own database, or let all replicas compete for one Lease.',
    *find(one, facts) {
      const found = facts.installations.map(({ manifest }) => manifest)
      for (const of of facts.manifests.filter((other) => isWorkload(other) && !found.includes(other)))
        for (const container of containersIn(of)) {
          const theirs = databaseOf({ env: new Environment(container, facts), manifest: of })
          if (theirs !== null && theirs === databaseOf(one))
            yield { message: `it uses the database of ${titleOf(one.manifest)}, and has no agent`, of }
        }
      const installed = asInstalled(one)
      for (const other of othersBefore(one, facts)) {
        if (installed === null || isSameLease(installed, other)) continue
        const [own, theirs] = [databaseOf(one), databaseOf(other)]
        if (own !== null && own === theirs)
          yield `it uses the database of ${titleOf(other.manifest)}, which competes for another Lease`
      }
    },
  },
  {
    code: 'local-files',
    severity: 'warning',
    about: 'A new leader has the files that users uploaded. If not, it lists them, and cannot read them.',
    fix: 'Set LANGFLOW_STORAGE_TYPE to s3, or mount one ReadWriteMany volume at LANGFLOW_CONFIG_DIR in all replicas.',
    *find(one) {
      const { env, isSingle } = one
      if (isSingle || (env.value('LANGFLOW_STORAGE_TYPE') ?? 'local') !== 'local') return
      // Without a database, the replicas share nothing, which another rule reports.
      if (!env.isSet(URL_VARIABLE)) return
      const volume = volumeOf(one.pod, mountAt(one.langflow, env.value('LANGFLOW_CONFIG_DIR') ?? '')?.volume)
      const isNetwork = ['nfs', 'cephfs', 'azureFile'].some((name) => name in volume)
      if (claimOf(volume) === null && !isNetwork) yield "uploaded files stay in the leader's pod"
    },
  },
  {
    code: 'volume-shared',
    about: 'Every replica can mount its volumes. If not, a second replica never starts.',
    fix: 'Use a claim with ReadWriteMany, or remove it if LangFlow uses PostgreSQL and S3.',
    reads: 'PersistentVolumeClaim',
    *find(one, facts) {
      if (one.isSingle) return
      for (const volume of asList(one.pod.volumes)) {
        const claim = claimOf(volume)
        if (claim === null) continue
        const found = objectsOf('PersistentVolumeClaim', one, facts).find(({ name }) => name === claim)
        if (found === undefined && !facts.hidden.has('PersistentVolumeClaim'))
          yield { unknown: `PersistentVolumeClaim/${claim} is not in the input` }
        const modes = asList(dig(found?.value, 'spec', 'accessModes')).map(asText)
        if (found !== undefined && !modes.some((mode) => /Many$/.test(mode)))
          yield {
            message: `only one node can mount it (${modes.join(', ')}), but all replicas use it`,
            of: found,
          }
      }
    },
  },
]

/** Where a LangFlow keeps its state, never for a message: a URL contains a password. `null` if each pod has its own. Throws `Unknown`. */
function databaseOf({ env, manifest }: Pick<Installation, 'env' | 'manifest'>): string | null {
  const namespace = manifest.namespace ?? ''
  if (!env.isSet(URL_VARIABLE)) return null
  try {
    const url = URL.parse(env.value(URL_VARIABLE)!)
    if (url === null || url.hostname === '') return null
    // A short name is that of a Service in the namespace.
    const host = url.hostname.includes('.') ? url.hostname : `${url.hostname}.${namespace}`
    return `${host.toLowerCase()}:${url.port || 5432}${url.pathname}`
  } catch (error) {
    const source = env.sourceOf(URL_VARIABLE)
    if (!source) throw error
    return `${namespace}/${source}`
  }
}

/** The claim that all replicas share; `null` if the volume has no claim. A claim of a template is no volume of the pod's spec. */
function claimOf(volume: unknown): string | null {
  return asText(dig(volume, 'persistentVolumeClaim', 'claimName')) || null
}

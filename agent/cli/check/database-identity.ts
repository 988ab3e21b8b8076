import { asList, asText, dig, type Fields } from '../manifests/manifest.ts'
import { HIDDEN, isTruth, valueIn, variableOf } from './container-environment.ts'
import { type Installation, mountAt, volumeOf } from './installation.ts'
import { Unseen } from './rule.ts'

export const DATABASE_URL = 'LANGFLOW_DATABASE_URL'

/** Where a LangFlow keeps its state. Neither text appears in a message, since an URL contains a password. */
interface Database {
  /** Host, port and name, or claim and path; `null` if check does not see the URL. */
  readonly place: string | null
  /** The Secret and the key from which the URL comes; `null` if it does not come from a key. */
  readonly source: string | null
  /** Why check does not see the URL. */
  readonly why: string
}

/** `null` if each replica has its own database. Throws `Unseen` if a URL may be set. */
export function databaseOf(one: Installation): Database | null {
  const { value, isSet, text, why } = variableOf(one.env, DATABASE_URL)
  const from = one.env.elsewhere.get(DATABASE_URL)?.from ?? null
  const namespace = one.manifest.namespace ?? ''
  const source = isSet && from !== null && text === null ? `${namespace}/${from}` : null
  if (isSet === null) throw new Unseen(why)
  const url = value ?? text
  if (url === null && isSet) return { place: null, source, why }
  if (url === null || /^sqlite/i.test(url)) {
    const path = sqliteFile(one, url)
    const volume = sharedVolumeAt(one, path)
    return volume === null ? null : { place: `${namespace}/${volume}${path}`, source: null, why: '' }
  }
  const local = isLocal(url) ? ' leads to the pod itself' : ' is partly hidden'
  return { place: placeOf(url, namespace), source: null, why: DATABASE_URL + local }
}

/** Throws `Unseen`. */
export function isSameDatabase(a: Database, b: Database): boolean {
  if (a.source !== null && a.source === b.source) return true
  if (a.place === null || b.place === null) throw new Unseen(a.place === null ? a.why : b.why)
  return a.place === b.place
}

const PORTS: Readonly<Record<string, string>> = { postgresql: '5432', postgres: '5432', mysql: '3306' }

/** Host, port and name of a database, without user, password and parameters; `null` if they are hidden or not in the usual form. */
function placeOf(text: string, namespace: string): string | null {
  const url = URL.parse(text)
  if (
    url === null ||
    url.hostname === '' ||
    isLocal(text) ||
    decodeURIComponent(url.host + url.pathname).includes(HIDDEN)
  )
    return null
  const scheme = url.protocol.replace(/(\+.*)?:$/, '')
  // A Service's name alone, and with its namespace, are one host.
  const [name = '', own = namespace, ...rest] = url.hostname.toLowerCase().split('.')
  const isService = rest.length === 0 || /^svc(\.|$)/.test(rest.join('.'))
  const host = isService && !/^\d/.test(name) ? `${name}.${own}` : url.hostname.toLowerCase()
  return `${host}:${url.port || (PORTS[scheme] ?? '')}${decodeURIComponent(url.pathname).replace(/\/+$/, '')}`
}

/** Whether a URL leads to a database or a proxy in the pod itself. */
export function isLocal(url: string): boolean {
  return /^(localhost|127\..*|\[::1\])$/i.test(URL.parse(url)?.hostname ?? '')
}

/** The port of a database; `null` if the URL is not in the usual form. */
export function portOfDatabase(text: string): number | null {
  const url = URL.parse(text)
  const port = Number(url?.port || PORTS[url?.protocol.replace(/(\+.*)?:$/, '') ?? ''])
  return port > 0 ? port : null
}

/** The URL of the database, with `HIDDEN` for hidden parts; `null` if it is not set. Throws `Unseen`. */
export function urlOf({ env }: Installation): string | null {
  return variableOf(env, DATABASE_URL).text ?? valueIn(env, DATABASE_URL)
}

/** The path of LangFlow's SQLite database; '' if it is in the container's own file system. `url`: its URL, or `null`. */
export function sqliteFile({ env }: Installation, url: string | null): string {
  if (url !== null) return /^sqlite(?:\+\w+)?:\/\/\/(\/[^?]*)/i.exec(url)?.[1]?.replace(/^\/+/, '/') ?? ''
  return isTruth(valueIn(env, 'LANGFLOW_SAVE_DB_IN_CONFIG_DIR'))
    ? (valueIn(env, 'LANGFLOW_CONFIG_DIR') ?? '')
    : ''
}

/** Volumes without a claim that all pods share. */
const SHARED_TYPES = ['nfs', 'cephfs', 'azureFile', 'glusterfs'] as const

/** The volume that all replicas mount at this path, such as `claim data`; `null` if each replica has its own files there. */
export function sharedVolumeAt({ spec, pod, langflow }: Installation, path: string): string | null {
  const volume = volumeOf(pod, mountAt(langflow, path)?.volume)
  const claim = sharedClaim(spec, volume)
  if (claim !== null) return `claim ${claim}`
  const type = SHARED_TYPES.find((one) => one in volume)
  return type === undefined ? null : `${type} volume ${JSON.stringify(volume[type])}`
}

/** The claim that all replicas share; `null` if there is no claim, or if a template gives each replica its own claim. */
export function sharedClaim(spec: Readonly<Fields>, volume: unknown): string | null {
  const own = asList(spec.volumeClaimTemplates).some(
    (one) => dig(one, 'metadata', 'name') === dig(volume, 'name'),
  )
  return own ? null : asText(dig(volume, 'persistentVolumeClaim', 'claimName')) || null
}

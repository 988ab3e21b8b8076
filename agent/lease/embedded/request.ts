import type { IncomingMessage } from 'node:http'
import type { Lease } from '../lease.ts'
import { badRequest } from './status.ts'

/** `other`: discovery, health, and whatever is no Lease. */
export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'other'

/** Which requests a fault or a counter means; a field left out means any. */
export interface RequestMatch {
  readonly verb?: Verb | readonly Verb[]
  /** NAME of a base path `/clients/NAME`. */
  readonly client?: string
  /** Part of the User-Agent header. */
  readonly userAgent?: string
  /** Name of the Lease, for a watch or a list the one its field selector names. */
  readonly name?: string
}

/** What a request asks for, read from its line and headers. */
export interface ApiRequest {
  readonly verb: Verb
  readonly method: string
  /** Without the client's base path. */
  readonly path: string
  readonly query: URLSearchParams
  readonly client: string | undefined
  readonly userAgent: string
  readonly namespace: string | undefined
  readonly name: string | undefined
  /** Whether the path is the Lease collection or one Lease. */
  readonly target: 'collection' | 'lease' | undefined
  readonly accept: string
  /** Media type alone, '' where the request names none. */
  readonly contentType: string
}

const CLIENT = /^\/clients\/([^/]+)(\/.*)?$/
const LEASES = /^\/apis\/coordination\.k8s\.io\/v1(?:\/namespaces\/([^/]+))?\/leases(?:\/([^/]+))?\/?$/

export function readRequest(incoming: IncomingMessage): ApiRequest {
  const url = new URL(incoming.url ?? '/', 'http://embedded')
  const prefix = CLIENT.exec(url.pathname)
  const path = prefix ? (prefix[2] ?? '/') : url.pathname
  const leases = LEASES.exec(path)
  const one = leases?.[2] !== undefined
  const target = leases && (one ? leases[1] && 'lease' : 'collection')
  const method = incoming.method ?? 'GET'
  return {
    verb: target ? verbOf(method, target === 'lease', url.searchParams) : 'other',
    method,
    path,
    query: url.searchParams,
    client: prefix?.[1] && decodeURIComponent(prefix[1]),
    userAgent: incoming.headers['user-agent'] ?? '',
    namespace: leases?.[1],
    name: leases?.[2] ?? selectedName(url.searchParams.get('fieldSelector')),
    target: target || undefined,
    accept: incoming.headers.accept ?? '',
    contentType: (incoming.headers['content-type'] ?? '').split(';')[0]!.trim(),
  }
}

function verbOf(method: string, one: boolean, query: URLSearchParams): Verb {
  if (method === 'GET' && one) return 'get'
  if (method === 'GET') return isTrue(query.get('watch')) ? 'watch' : 'list'
  if (method === 'POST' && !one) return 'create'
  if (!one) return 'other'
  return ({ PUT: 'update', PATCH: 'patch', DELETE: 'delete' } as const)[method] ?? 'other'
}

/** The API server takes everything but these as true. */
export const isTrue = (value: string | null): boolean => value !== null && !['', '0', 'false'].includes(value)

const selectedName = (selector: string | null) => /(?:^|,)metadata\.name==?([^,]+)/.exec(selector ?? '')?.[1]

export function matches(match: RequestMatch, request: ApiRequest): boolean {
  const { verb, client, userAgent, name } = match
  if (verb !== undefined && !(typeof verb === 'string' ? [verb] : verb).includes(request.verb)) return false
  if (client !== undefined && client !== request.client) return false
  if (userAgent !== undefined && !request.userAgent.includes(userAgent)) return false
  return name === undefined || name === request.name
}

/** The Leases that a list or a watch asks for. Throws 400 on a selector that is not understood. */
export function selectorOf(request: ApiRequest): (lease: Lease) => boolean {
  if (request.query.get('labelSelector')) throw badRequest('the embedded Lease API has no label selectors')
  const terms = (request.query.get('fieldSelector') ?? '').split(',').filter((term) => term !== '')
  const tests = terms.map((term) => {
    const [, field, operator, value] = /^([^=!]+)(==?|!=)(.*)$/.exec(term) ?? []
    if (field !== 'metadata.name' && field !== 'metadata.namespace')
      throw badRequest(
        `"${field ?? term}" is not a known field selector: only "metadata.name", "metadata.namespace"`,
      )
    const key = field === 'metadata.name' ? 'name' : 'namespace'
    return (lease: Lease) => (lease.metadata[key] === value) === (operator !== '!=')
  })
  const { namespace } = request
  return (lease) =>
    (namespace === undefined || lease.metadata.namespace === namespace) && tests.every((test) => test(lease))
}

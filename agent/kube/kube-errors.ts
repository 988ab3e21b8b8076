import { redactText } from '../redaction.ts'

export type ApiErrorCode =
  | 'conflict' // 409 on an update: the object has another resourceVersion
  | 'already_exists' // 409 on a create
  | 'not_found' // 404
  | 'unauthorized' // 401, after credentials were read again once
  | 'forbidden' // 403: RBAC; the message names verb and resource
  | 'throttled' // 429
  | 'not_kept' // 200, with an object that lacks the written values
  | 'gone' // 410: a watch must restart from a read
  | 'invalid' // other 4xx
  | 'server' // 5xx
  | 'timeout' // no answer within the request's deadline
  | 'network' // not connected, TLS error, connection reset, or an answer that is not JSON

export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly code: ApiErrorCode
  readonly status: number | undefined
  constructor(code: ApiErrorCode, message: string, status?: number) {
    super(message)
    this.code = code
    this.status = status
  }
}

export type Verb = 'get' | 'list' | 'update' | 'patch' | 'create' | 'delete' | 'watch'

export interface Kind {
  readonly kind: string
  readonly resource: string
  readonly base: string
  readonly isClusterWide?: true
}

/** A request's verb and object, in the terms of `kubectl` and RBAC, for its error message. */
export interface ApiTarget {
  readonly verb: Verb
  readonly kind: Kind
  /** `null`: all objects. */
  readonly name: string | null
  readonly namespace: string
  readonly server: string
  readonly source: string
}

export interface Status {
  readonly code?: number
  readonly reason?: string
  readonly message?: string
}

/** `undefined`: the text is not a `Status`, but for example a proxy's own error page. */
export function parseStatus(text: string): Status | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || !('kind' in value)) return undefined
    return value.kind === 'Status' ? (value as Status) : undefined
  } catch {
    return undefined
  }
}

export function refusedRequest(target: ApiTarget, status: number, detail: Status | undefined): ApiError {
  const { verb, namespace, name, server, source } = target
  const { kind, resource } = target.kind
  const what = name === null ? resource : `the ${kind} "${name}"`
  const message = !detail?.message ? '' : `: ${redactText(detail.message.replace(/\s+/g, ' ')).slice(0, 400)}`
  const sentences: Partial<Record<ApiErrorCode, string>> = {
    forbidden: forbidden(target, message),
    unauthorized: `the API server at ${server} does not accept ${source} (401 Unauthorized): renew the credentials; if the ServiceAccount was re-created, delete the pod`,
    conflict: `${what} has changed since it was read`,
    already_exists: `${what} already exists in namespace "${namespace}"`,
    not_found:
      verb === 'create'
        ? `namespace "${namespace}" does not exist`
        : `there is no ${kind} "${name}" in namespace "${namespace}"`,
  }
  const code = codeOf(verb, status, detail)
  const sentence =
    sentences[code] ?? `the API server at ${server} answered ${status} to "${verb}" of ${what}${message}`
  return new ApiError(code, sentence, status)
}

function codeOf(verb: Verb, status: number, detail: Status | undefined): ApiErrorCode {
  if (status >= 500) return 'server'
  // A 404 without a Status does not concern the object: the path itself is unknown, for example to a proxy in between.
  if (status === 404) return detail?.reason === 'NotFound' ? 'not_found' : 'invalid'
  if (status === 409)
    return verb === 'create' && detail?.reason === 'AlreadyExists' ? 'already_exists' : 'conflict'
  const codes: Record<number, ApiErrorCode> = {
    401: 'unauthorized',
    403: 'forbidden',
    410: 'gone',
    429: 'throttled',
  }
  return codes[status] ?? 'invalid'
}

function forbidden({ verb, kind: { resource }, namespace, name }: ApiTarget, message: string): string {
  const named = verb === 'create' || name === null ? '' : `"${name}" `
  const what = `${resource} ${named}in ${namespace === '' ? 'all namespaces' : `namespace "${namespace}"`}`
  const user = /User "([^"]+)" cannot /.exec(message)?.[1]
  // Not every 403 comes from RBAC: a namespace that is being deleted, or an admission rule, causes one as well.
  if (user === undefined) return `the API server does not permit "${verb}" of ${what}${message}`
  return `user "${user}" may not "${verb}" ${what}: add the verb to its ${namespace === '' ? 'Cluster' : ''}Role`
}

/** `handedOver`: the request was sent, so that a write may have been applied although the answer never arrived. */
export function timeoutError({ verb, server }: ApiTarget, deadlineMs: number, handedOver: boolean): ApiError {
  const what = handedOver
    ? `the API server at ${server} did not answer "${verb}"`
    : `no connection to the API server at ${server}`
  return new ApiError('timeout', `${what} within ${Math.round(deadlineMs)} ms`)
}

export function connectionError({ server }: ApiTarget, cause: unknown, handedOver: boolean): ApiError {
  const what = handedOver ? 'lost the connection to' : 'cannot reach'
  return new ApiError('network', `${what} the API server at ${server}: ${explain(cause as Error)}`)
}

export function unexpectedReply({ verb, server }: ApiTarget, what: string, status?: number): ApiError {
  return new ApiError('network', `the API server at ${server} answered "${verb}" with ${what}`, status)
}

function explain({ code = '', message }: NodeJS.ErrnoException): string {
  const line = message.split('\n', 1)[0]?.slice(0, 200) ?? ''
  return line.includes(code) ? line : `${line} (${code})`.trim()
}

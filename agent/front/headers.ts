import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { HOP, HOP_EMPTY, HOP_EPOCH, HOP_EXPECTS, HOP_WAITED } from './front-messages.ts'

/** The limit of common load balancers. LangFlow applies its own limit. */
export const MAX_HEADER_BYTES = 64 * 1024

/** RFC 9110, 7.6.1: headers for the next recipient only. `trailer` is kept if trailers are passed. */
const OF_ONE_CONNECTION = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]
const NOT_FORWARDED = new Set([...OF_ONE_CONNECTION, 'expect', HOP, HOP_EMPTY, HOP_EXPECTS, HOP_WAITED])
const NOT_PASSED_BACK = new Set([...OF_ONE_CONNECTION, HOP_EPOCH])
/**
 * Without these headers, a request would have another meaning. A client cannot have them removed through `Connection`.
 */
const NEVER_OF_ONE_CONNECTION = new Set([
  'host',
  'content-length',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
])

/**
 * RFC 9110, 6.5.1: fields that must precede a body, such as its length, its recipient and the credentials, are not
 * allowed in trailers.
 */
const NO_TRAILERS = new Set([...NOT_FORWARDED, ...NEVER_OF_ONE_CONNECTION, 'authorization', 'cookie'])

/** The parts of a Node message that also exist for an interim answer. */
type Message = Pick<IncomingMessage, 'headers' | 'rawHeaders'>

/**
 * The headers to forward, as names and values in turn, in the form received. `hopped`: another front forwards the
 * request, and has already added its client.
 */
export function forwardedHeaders(request: IncomingMessage, hopped: boolean): string[] {
  const { headers, socket } = request
  // Only a chunked body can end with trailers.
  const sent = without(NOT_FORWARDED, request, headers['transfer-encoding'] !== undefined)
  if (hopped) return sent
  const before = headers['x-forwarded-for']
  const peer = socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, '') ?? 'unknown'
  const own = before === undefined ? sent : withoutName('x-forwarded-for', sent)
  own.push('x-forwarded-for', before === undefined ? peer : `${before}, ${peer}`)
  if (headers['x-forwarded-proto'] === undefined) own.push('x-forwarded-proto', 'http')
  if (headers['x-forwarded-host'] === undefined && headers.host !== undefined)
    own.push('x-forwarded-host', headers.host)
  return own
}

/**
 * The headers of an answer for the client, as names and values in turn, in the form received. `chunked`: trailers can
 * follow.
 */
export function passedBackHeaders(answer: Message, chunked: boolean): string[] {
  return without(NOT_PASSED_BACK, answer, chunked)
}

export function forwardedTrailers({ rawTrailers }: IncomingMessage): [string, string][] {
  const pairs = rawTrailers.flatMap((name, i) =>
    i % 2 === 0 ? [[name, rawTrailers[i + 1]] as [string, string]] : [],
  )
  return pairs.filter(([name]) => !NO_TRAILERS.has(name.toLowerCase()))
}

/** Names and values in turn, without the header `name`, which is in lower case. */
export function withoutName(name: string, flat: readonly string[]): string[] {
  return flat.filter((_, i) => flat[i - (i % 2)]?.toLowerCase() !== name)
}

function without(names: Set<string>, { headers, rawHeaders }: Message, trailers: boolean): string[] {
  const named = namedIn(headers.connection)
  const left: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    const lower = name.toLowerCase()
    if (names.has(lower) || named?.has(lower) || (lower === 'trailer' && !trailers)) continue
    left.push(name, rawHeaders[i + 1] as string)
  }
  return left
}

function namedIn(connection: string | undefined): Set<string> | null {
  // Nearly every request has one of these values.
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return null
  const names = connection.split(',').map((name) => name.trim().toLowerCase())
  return new Set(names.filter((name) => !NEVER_OF_ONE_CONNECTION.has(name)))
}

/** A front's credentials for the leader's front: the term, and the proof that it is a replica. */
export interface Hop {
  readonly epoch: number
  readonly key: string
}

function formatHop({ epoch, key }: Hop): string {
  return `${epoch} ${key}`
}

/** The additional headers of a hop, as names and values in turn. */
export function hopHeaders(hop: Hop, waitedMs: number): string[] {
  return [HOP, formatHop(hop), HOP_WAITED, String(Math.round(waitedMs))]
}

/** Time since the request arrived at the other front. */
export function waitedThereMs({ headers }: IncomingMessage): number {
  const value = String(headers[HOP_WAITED])
  return /^\d{1,9}$/.test(value) ? Number(value) : 0
}

/**
 * The header that claims that the request comes from a front, verified or not. `null`: the request comes from a client.
 */
export function hopOf({ headers }: IncomingMessage): string | null {
  const value = headers[HOP]
  return value === undefined ? null : String(value)
}

/** Whether the client behind the other front sends its body only after `100 Continue`. */
export function expectsThere({ headers }: IncomingMessage): boolean {
  return headers[HOP_EXPECTS] !== undefined
}

/** Whether the client behind the other front sent no body. */
export function isEmptyThere({ headers }: IncomingMessage): boolean {
  return headers[HOP_EMPTY] !== undefined
}

/** Takes the same time for any two strings of the same length. */
export function isSame(said: string, own: Hop): boolean {
  const [a, b] = [Buffer.from(said), Buffer.from(formatHop(own))]
  return a.length === b.length && timingSafeEqual(a, b)
}

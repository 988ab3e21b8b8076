import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { HOP, HOP_EMPTY, HOP_EPOCH, HOP_EXPECTS, HOP_WAITED } from './front-messages.ts'

/** As much as load balancers let through; LangFlow's own limit is its own affair. */
export const MAX_HEADER_BYTES = 64 * 1024

/** RFC 9110, 7.6.1: what is said to the next recipient alone. `trailer` stays where trailers are passed. */
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
/** Without these a request would mean something else; a client cannot have them taken away. */
const NEVER_OF_ONE_CONNECTION = new Set([
  'host',
  'content-length',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
])

/** A trailer says nothing of what RFC 9110, 6.5.1 wants before a body: its length, whom it is for, who asks. */
const NO_TRAILERS = new Set([...NOT_FORWARDED, ...NEVER_OF_ONE_CONNECTION, 'authorization', 'cookie'])

/**
 * Names and values in turn, as they came: what is sent on. `hopped`: another front forwards it, and has said already for whom.
 */
export function forwardedHeaders(request: IncomingMessage, hopped: boolean): string[] {
  const { rawHeaders, headers, socket } = request
  const named = namedIn(headers.connection)
  const sent: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name, value] = [rawHeaders[i] as string, rawHeaders[i + 1] as string]
    const lower = name.toLowerCase()
    if (NOT_FORWARDED.has(lower) || named?.has(lower)) continue
    if (!hopped && lower === 'x-forwarded-for') continue
    // Trailers come at the end of a chunked body alone.
    if (lower === 'trailer' && headers['transfer-encoding'] === undefined) continue
    sent.push(name, value)
  }
  if (hopped) return sent
  const before = headers['x-forwarded-for']
  const peer = socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, '') ?? 'unknown'
  sent.push('x-forwarded-for', before === undefined ? peer : `${before}, ${peer}`)
  if (headers['x-forwarded-proto'] === undefined) sent.push('x-forwarded-proto', 'http')
  if (headers['x-forwarded-host'] === undefined && headers.host !== undefined)
    sent.push('x-forwarded-host', headers.host)
  return sent
}

export function forwardedTrailers({ rawTrailers }: IncomingMessage): [string, string][] {
  return paired(rawTrailers).filter(([name]) => !NO_TRAILERS.has(name.toLowerCase()))
}

function paired(flat: readonly string[]): [string, string][] {
  return flat.flatMap((name, i) => (i % 2 === 0 ? [[name, flat[i + 1] as string] as [string, string]] : []))
}

/** By name, in lower case; those that come more than once as they came. */
export function grouped(flat: readonly string[]): Headers {
  const headers: Headers = Object.create(null)
  for (const [name, value] of paired(flat)) {
    const key = name.toLowerCase()
    const before = headers[key]
    headers[key] = before === undefined ? value : [before, value].flat()
  }
  return headers
}

export type Headers = Record<string, string | string[]>

/** Of an answer: what the client is told. `chunked`: trailers can follow. */
export function passedBackHeaders(answer: IncomingHttpHeaders, chunked: boolean): Headers {
  const named = namedIn(answer.connection)
  const passed: Headers = Object.create(null)
  for (const [name, value] of Object.entries(answer)) {
    if (value === undefined || NOT_PASSED_BACK.has(name) || named?.has(name)) continue
    if (name === 'trailer' && !chunked) continue
    passed[name] = value
  }
  return passed
}

function namedIn(connection: string | undefined): Set<string> | null {
  // Nearly every request has one of these.
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return null
  const names = connection.split(',').map((name) => name.trim().toLowerCase())
  return new Set(names.filter((name) => !NEVER_OF_ONE_CONNECTION.has(name)))
}

import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { HOP, HOP_EMPTY, HOP_EPOCH, HOP_WAITED } from './front-messages.ts'

export const MAX_HEADER_BYTES = 16 * 1024

/** RFC 9110, 7.6.1: headers for the next recipient only. The front drops trailers. */
const OF_ONE_CONNECTION = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]
const NOT_FORWARDED = new Set([...OF_ONE_CONNECTION, 'expect'])
const NOT_PASSED_BACK = new Set([...OF_ONE_CONNECTION, HOP_EPOCH])
/** A client cannot have these removed through `Connection`. */
const NEVER_OF_ONE_CONNECTION = new Set([
  'host',
  'content-length',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
])

/** `hopped`: another front forwards the request, and has already added its client. */
export function forwardedHeaders(request: IncomingMessage, hopped: boolean): string[] {
  const { headers, socket } = request
  const sent = without(NOT_FORWARDED, request)
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

export function passedBackHeaders(answer: IncomingMessage): string[] {
  return without(NOT_PASSED_BACK, answer)
}

export function withoutName(name: string, flat: readonly string[]): string[] {
  return flat.filter((_, i) => flat[i - (i % 2)]?.toLowerCase() !== name)
}

function without(names: Set<string>, { headers, rawHeaders }: IncomingMessage): string[] {
  const named = namedIn(headers.connection)
  const left: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    const lower = name.toLowerCase()
    if (names.has(lower) || named?.has(lower) || lower.startsWith(HOP)) continue
    left.push(name, rawHeaders[i + 1] as string)
  }
  return left
}

function namedIn(connection: string | undefined): Set<string> | null {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return null
  const names = connection.split(',').map((name) => name.trim().toLowerCase())
  return new Set(names.filter((name) => !NEVER_OF_ONE_CONNECTION.has(name)))
}

export interface Hop {
  readonly epoch: number
  readonly key: string
}

function formatHop({ epoch, key }: Hop): string {
  return `${epoch} ${key}`
}

export function hopHeaders(hop: Hop, waitedMs: number): string[] {
  return [HOP, formatHop(hop), HOP_WAITED, String(Math.round(waitedMs))]
}

export function waitedThereMs({ headers }: IncomingMessage): number {
  const value = String(headers[HOP_WAITED])
  return /^\d{1,9}$/.test(value) ? Number(value) : 0
}

/** Not verified. `null`: a client's request. */
export function hopOf({ headers }: IncomingMessage): string | null {
  const value = headers[HOP]
  return value === undefined ? null : String(value)
}

export function isEmptyThere({ headers }: IncomingMessage): boolean {
  return headers[HOP] !== undefined && headers[HOP_EMPTY] !== undefined
}

export function isSame(received: string, own: Hop): boolean {
  const [a, b] = [Buffer.from(received), Buffer.from(formatHop(own))]
  return a.length === b.length && timingSafeEqual(a, b)
}

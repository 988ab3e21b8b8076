import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { HOP, HOP_EMPTY, HOP_EXPECTS, HOP_WAITED } from './front-messages.ts'

/** What a front says of itself to the leader's front: in whose term, and that it is a replica. */
export interface Hop {
  readonly epoch: number
  readonly key: string
}

function formatHop({ epoch, key }: Hop): string {
  return `${epoch} ${key}`
}

/** Whether it can be said in a header. */
export function isKey(key: string): boolean {
  return /^[\w-]{1,64}$/.test(key)
}

/** Names and values in turn: what a hop has beside the headers of its request. */
export function hopHeaders(hop: Hop, waitedMs: number): string[] {
  return [HOP, formatHop(hop), HOP_WAITED, String(Math.round(waitedMs))]
}

/** How long ago the request came to the other front. */
export function waitedThereMs({ headers }: IncomingMessage): number {
  const value = String(headers[HOP_WAITED])
  return /^\d{1,9}$/.test(value) ? Number(value) : 0
}

/** What says that it comes from a front, true or not; `null`: it comes from a client. */
export function hopOf({ headers }: IncomingMessage): string | null {
  const value = headers[HOP]
  return value === undefined ? null : String(value)
}

/** Whether the client behind the other front is to be told to send its body. */
export function expectsThere({ headers }: IncomingMessage): boolean {
  return headers[HOP_EXPECTS] !== undefined
}

/** Whether the client behind the other front sent no body. */
export function isEmptyThere({ headers }: IncomingMessage): boolean {
  return headers[HOP_EMPTY] !== undefined
}

/** Takes as long for any two of the same length. */
export function isSame(said: string, own: Hop): boolean {
  const [a, b] = [Buffer.from(said), Buffer.from(formatHop(own))]
  return a.length === b.length && timingSafeEqual(a, b)
}

import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { HOP } from './messages.ts'

/** What a front says of itself to the leader's front: in whose term, and that it is a replica. */
export interface Hop {
  readonly epoch: number
  readonly key: string
}

export function formatHop({ epoch, key }: Hop): string {
  return `${epoch} ${key}`
}

/** `null`: it comes from a client; so does whatever only looks like a hop. */
export function hopOf(request: IncomingMessage): Hop | null {
  const value = request.headers[HOP]
  const [, epoch, key] = /^(\d{1,15}) (\S{1,256})$/.exec(typeof value === 'string' ? value : '') ?? []
  return epoch === undefined || key === undefined ? null : { epoch: Number(epoch), key }
}

/** Takes as long for any two of the same length. */
export function isSame(hop: Hop, own: Hop): boolean {
  const [a, b] = [Buffer.from(formatHop(hop)), Buffer.from(formatHop(own))]
  return a.length === b.length && timingSafeEqual(a, b)
}

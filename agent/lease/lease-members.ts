import * as z from 'zod/mini'
import { isAddress, type Lease } from './lease.ts'

/** The replicas that take over only if the holder does not ask them for consent. Only the holder writes it. */
export const MEMBERS = 'langflow-leader/members'

export interface LeaseMember {
  readonly identity: string
  /** The address of its agent, `host:port`. */
  readonly at: string
}

/** What a holder with `--failsafe=peers` states. */
export interface MembersNote {
  /** Signs requests for consent, and the answers. Each process of a holder has its own. */
  readonly key: string
  /** The longest time that the holder may lead without an acknowledged write. */
  readonly maxMs: number
  readonly members: readonly LeaseMember[]
}

/** As many as a replica asks: see `Peers`. */
export const MOST_MEMBERS = 32
const LONGEST_MS = 24 * 3_600_000
/** A note that cannot be read may have members, so a replica waits for as long as its own flag states. */
const UNREADABLE = { key: '', maxMs: 0, members: null }

const Note = z.object({
  key: z.string().check(z.regex(/^[\w-]{16,64}$/)),
  maxMs: z.int().check(z.positive(), z.maximum(LONGEST_MS)),
  members: z
    .array(
      z.object({
        identity: z.string().check(z.regex(/^[\x21-\x7e]{1,512}$/)),
        at: z.string().check(z.refine(isAddress)),
      }),
    )
    .check(z.maxLength(MOST_MEMBERS)),
})

/** `null`: the holder has no failsafe. `members` is `null` if the note cannot be read. */
export function membersOf(lease: Lease): MembersNote | typeof UNREADABLE | null {
  const text = lease.metadata.annotations?.[MEMBERS]
  if (text === undefined || text === '') return null
  try {
    return z.parse(Note, JSON.parse(text))
  } catch {
    return UNREADABLE
  }
}

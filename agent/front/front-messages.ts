import type { Duplex } from 'node:stream'
import { readJsonLines } from '../json-lines.ts'

// Agent and front are two processes, so that traffic delays no renewal. They talk in JSON lines over file descriptor 3 of
// the front: where requests go goes down, what becomes of them goes up. Times are CLOCK_MONOTONIC in ms: both read one clock.

/** What a front is told once, before all else. */
export interface FrontConfig {
  /** Port 0: any that is free. */
  readonly listen: { readonly host: string | null; readonly port: number }
  /** LangFlow. */
  readonly target: { readonly host: string; readonly port: number }
  /** The local address from which LangFlow is asked, so that no client looks like one on LangFlow's own machine; `null`: any. */
  readonly from: string | null
  /** How long a request may wait for somebody to serve it. */
  readonly holdTimeoutMs: number
  /** How many may wait at a time. */
  readonly holdLimit: number
  /** How long SSE streams and websockets go on, and requests beside them, once a planned takeover has begun. */
  readonly streamGraceMs: number
}

/** Where requests go from now on. */
export type FrontRoute =
  /**
   * To LangFlow here. Requests that other fronts forward are taken with `key` alone.
   * @property until of the grant: from then on all is held, without another word
   * @property closing a planned stop, until when what is in flight is let finish: as long as there are streams, and for the grace at
   * most, requests go on; then they are held, and the streams that are left are ended. `null`: nothing is ended
   */
  | {
      readonly to: 'langflow'
      readonly epoch: number
      readonly key: string
      readonly until: number
      readonly closing: number | null
    }
  /** To the leader's front. `address`: `host:port`, with IPv6 in brackets. */
  | { readonly to: 'leader'; readonly epoch: number; readonly key: string; readonly address: string }
  /**
   * To nobody: all is held.
   * @property key of this replica's own term, whose forwarded requests are held as well; `null`: it does not lead, and refuses
   * them
   */
  | { readonly to: 'nobody'; readonly epoch: number; readonly key: string | null }

export type ToFront =
  | { readonly type: 'begin'; readonly config: FrontConfig }
  | { readonly type: 'route'; readonly id: number; readonly route: FrontRoute }
  /**
   * The pod ends: what was accepted, and what still comes, is forwarded with `Connection: close`; then `ended`. `until`: by then
   * at the latest.
   */
  | { readonly type: 'end'; readonly until: number }

export interface FrontCounts {
  /** Requests that wait for somebody to serve them, and for how long the oldest has, in ms. */
  readonly held: number
  readonly oldestHeldMs: number
  /** Sent to LangFlow or to the leader's front and not answered to the end, without streams. */
  readonly inFlight: number
  /** SSE answers and websockets. */
  readonly streams: number
  /** Since the front began: answered to the end, by where they went. */
  readonly forwarded: { readonly langflow: number; readonly leader: number }
  /** Since the front began, by reason. */
  readonly failed: Readonly<Record<FailedBecause, number>>
  /** Streams and websockets ended for a planned takeover, since the front began. */
  readonly streamsEnded: number
  /** Of the front's process. */
  readonly rssBytes: number
}

/**
 * `hold_timeout`, `hold_limit` (also of memory): 503, nothing was sent. `outcome_unknown`: 502, it was sent and its connection broke.
 * `cut`: an answer that had begun broke. `client_gone`: the client went first.
 */
export type FailedBecause = 'hold_timeout' | 'hold_limit' | 'outcome_unknown' | 'cut' | 'client_gone'

/** Since when (monotonic ms) the front at this address has answered no hop, and why not as far as is known. */
export interface Unheard {
  readonly address: string
  readonly since: number
  readonly because: string
}

export type FromFront =
  | { readonly type: 'listening'; readonly port: number }
  /** It cannot listen, and ends. One sentence. */
  | { readonly type: 'failed'; readonly reason: string }
  /**
   * Every request that is forwarded from now on follows route `id`. `unheard`: of the leader's front, where that is where they go; else
   * `null`.
   */
  | { readonly type: 'routed'; readonly id: number; readonly unheard: Unheard | null }
  /** At most once in 200 ms, and only where something changed. `heldMs`: of each request that waits no more. */
  | { readonly type: 'counts'; readonly counts: FrontCounts; readonly heldMs: readonly number[] }
  | { readonly type: 'ended' }

/** Header of a request that a front forwards to the leader's front: `<epoch> <key>`. A client's own is answered with 421. */
export const HOP = 'langflow-leader-hop'
/**
 * Header of a hop: the client, too, sends its body once it is told to. `Expect` alone says nothing of it: each hop whose body is
 * withheld has that.
 */
export const HOP_EXPECTS = 'langflow-leader-hop-expects'
/** Header of a hop without a body: it comes as an empty chunked one, so that its end can be withheld. */
export const HOP_EMPTY = 'langflow-leader-hop-empty'
/** Header of a hop: how long ago the request came to the front that sends it, in whole ms. */
export const HOP_WAITED = 'langflow-leader-hop-waited'
/**
 * Header of the answer to a hop for which there is none of LangFlow, with the epoch that the answering front knows. Status 421: nothing
 * of the request was read on. 502: LangFlow's connection broke, and the front to which the request came first decides what follows.
 */
export const HOP_EPOCH = 'langflow-leader-epoch'

/** Interim status of a hop whose client waits for an answer to its head: LangFlow may have that much. */
export const HOP_TAKEN = 102

/** Reads what the other end of the channel writes; the channel is destroyed at a line that is no message. */
export function readMessages<Message>(channel: Duplex, received: (message: Message) => void): void {
  readJsonLines(channel, Number.POSITIVE_INFINITY, received)
}

export function writeMessage(channel: Duplex, message: ToFront | FromFront): void {
  if (channel.writable) channel.write(`${JSON.stringify(message)}\n`)
}

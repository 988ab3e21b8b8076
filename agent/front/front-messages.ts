import type { Duplex } from 'node:stream'

// Agent and front are two processes, so that traffic delays no renewal. They exchange JSON lines over file descriptor 3
// of the front: the agent sends routes, the front sends results and counts. Times are CLOCK_MONOTONIC in ms: both
// processes read the same clock.

export interface FrontConfig {
  readonly listen: { readonly host: string | null; readonly port: number }
  readonly target: { readonly host: string; readonly port: number }
  /** So that no client appears to be on LangFlow's own machine. `null`: any. */
  readonly from: string | null
  readonly holdTimeoutMs: number
  readonly holdLimit: number
  readonly queueWaitMs: number
  readonly streamGraceMs: number
}

export type FrontRoute =
  /**
   * To LangFlow in this pod. Requests that other fronts forward are accepted only with `key`.
   * @property until end of the grant: from then on, the front holds all requests without another message
   * @property closing in a planned stop, the deadline for requests in flight. While there are streams, and for at most
   * the grace, requests are still sent. After that they are held, and the remaining streams are ended.
   * @property untilQuiet requests are sent until no request is in flight and each stream is idle. From then on they are held.
   */
  | {
      readonly to: 'langflow'
      readonly epoch: number
      readonly key: string
      readonly until: number
      readonly closing: number | null
      readonly untilQuiet: boolean
    }
  /** To the leader's front. `address`: `host:port`, with IPv6 in brackets. The agent has validated it and the key. */
  | { readonly to: 'leader'; readonly epoch: number; readonly key: string; readonly address: string }
  /** All requests are held. `key`: of this replica's own term. If it does not lead, it refuses forwarded requests. */
  | { readonly to: 'nobody'; readonly epoch: number; readonly key: string | null }

export type ToFront =
  | { readonly type: 'begin'; readonly config: FrontConfig }
  | { readonly type: 'route'; readonly id: number; readonly route: FrontRoute }
  /** Requests are forwarded with `Connection: close`, until `ended` at `until` at the latest. */
  | { readonly type: 'end'; readonly until: number }

export const NO_COUNTS = {
  held: 0,
  oldestHeldMs: 0,
  inFlight: 0,
  streams: 0,
  forwarded: { langflow: 0, leader: 0 },
  /** The first three (503): not sent. `outcome_unknown`: 502, sent, and its connection broke. `cut`: its answer broke. */
  failed: { hold_timeout: 0, hold_limit: 0, overload: 0, outcome_unknown: 0, cut: 0, client_gone: 0 },
  streamsEnded: 0,
  answeredAt: 0, // when the last byte of an answer of LangFlow arrived
  rssBytes: 0,
}
export type FrontCounts = Readonly<typeof NO_COUNTS>
export type FailedBecause = keyof FrontCounts['failed']

export type FromFront =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'failed'; readonly reason: string }
  /** Requests follow route `id` from now on. */
  | { readonly type: 'routed'; readonly id: number }
  /** No request is in flight, and new ones are held until another route than `id` arrives. */
  | { readonly type: 'quiet'; readonly id: number }
  | { readonly type: 'counts'; readonly counts: FrontCounts }
  | { readonly type: 'ended' }

/** `<epoch> <key>`, in a request that a front forwards to the leader's front. */
export const HOP = 'langflow-leader-hop'
/** A hop without a body has an empty chunked body, so that its end can be withheld. */
export const HOP_EMPTY = 'langflow-leader-hop-empty'
/** Whole ms since the request arrived at the sending front. */
export const HOP_WAITED = 'langflow-leader-hop-waited'
/**
 * In an answer of the other front itself: its current epoch. 421: nothing was read on. 502: LangFlow's connection
 * broke, and the front that received the request first decides what follows.
 */
export const HOP_EPOCH = 'langflow-leader-epoch'

export function writeMessage(channel: Duplex, message: ToFront | FromFront): void {
  if (channel.writable) channel.write(`${JSON.stringify(message)}\n`)
}

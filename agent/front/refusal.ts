import { formatDuration } from '../config/values.ts'
import { type FailedBecause, HOP_EPOCH } from './front-messages.ts'

export class Refusal extends Error {
  readonly status: number
  /** `null`: the fault is the client's own. */
  readonly reason: FailedBecause | null
  readonly body: string
  readonly headers: Readonly<Record<string, string>>

  constructor(
    status: number,
    sentence: string,
    reason: FailedBecause | null = null,
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(sentence)
    this.status = status
    this.reason = reason
    this.body = `${JSON.stringify({ error: sentence })}\n`
    this.headers = {
      'content-type': 'application/json; charset=utf-8',
      'content-length': String(Buffer.byteLength(this.body)),
      'x-content-type-options': 'nosniff',
      ...(status === 503 && { 'retry-after': '1' }),
      ...headers,
    }
  }
}

// This also applies to a GET that may have reached LangFlow.
const AGAIN = 'the request can safely be sent again'
const OUTCOME_UNKNOWN =
  'the connection broke before LangFlow answered, so LangFlow may or may not have processed the request: the outcome is unknown'

export function heldTooLong(holdTimeoutMs: number): Refusal {
  const sentence = `no replica could take this request within ${formatDuration(holdTimeoutMs)}: ${AGAIN}`
  return new Refusal(503, sentence, 'hold_timeout')
}

export function tooManyHeld(holdLimit: number): Refusal {
  return new Refusal(503, `the limit of ${holdLimit} waiting requests is reached: ${AGAIN}`, 'hold_limit')
}

/** By the time of `Retry-After`, the requests that wait now have left the queue. */
export function overloaded(queueWaitMs: number): Refusal {
  const sentence = `LangFlow is busy, and this request would wait for more than ${formatDuration(queueWaitMs)}: ${AGAIN}`
  return new Refusal(503, sentence, 'overload', { 'retry-after': String(Math.ceil(queueWaitMs / 1000)) })
}

/** `epoch`: of a hop, whose sender decides what follows. `null`: a client. */
export function outcomeUnknown(epoch: number | null): Refusal {
  return epoch === null
    ? new Refusal(502, OUTCOME_UNKNOWN, 'outcome_unknown')
    : new Refusal(502, OUTCOME_UNKNOWN, null, { [HOP_EPOCH]: String(epoch) })
}

/** The sender waits for the leader of that epoch. */
export function notTheLeader(epoch: number): Refusal {
  return new Refusal(421, 'this replica does not lead', null, { [HOP_EPOCH]: String(epoch) })
}

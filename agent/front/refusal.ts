import type { IncomingMessage } from 'node:http'
import { formatDuration } from '../config/values.ts'
import { type FailedBecause, HOP, HOP_EPOCH } from './front-messages.ts'

/** Node's own limit, beyond which it drops headers without an error. */
const MAX_HEADERS = 1_000

const FORWARDED_TARGET = /^(\*$|\/|https?:\/\/)[!-~]*$/i

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
      ...headers,
      ...(status === 503 && { 'retry-after': '1' }),
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

export function faultOf(request: IncomingMessage): Refusal | null {
  const { httpVersionMajor, headers, rawHeaders, url = '' } = request
  if (httpVersionMajor !== 1) return new Refusal(505, 'only HTTP/1.0 and HTTP/1.1 are supported')
  // The headers of a hop are the client's and some of the other front's.
  if (headers[HOP] === undefined && rawHeaders.length > 2 * MAX_HEADERS)
    return new Refusal(431, `the request has more than ${MAX_HEADERS} headers`)
  const hosts = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host')
  if (hosts.length > 1) return new Refusal(400, 'this request cannot be forwarded: it has more than one Host')
  if (!FORWARDED_TARGET.test(url))
    return new Refusal(400, 'this request cannot be forwarded: its path is missing or not ASCII')
  return null
}

export function isHandshake({ method, httpVersionMinor, headers }: IncomingMessage): boolean {
  return (
    headers.upgrade?.toLowerCase() === 'websocket' &&
    method === 'GET' &&
    httpVersionMinor === 1 &&
    headers['transfer-encoding'] === undefined &&
    Number(headers['content-length'] ?? 0) === 0
  )
}

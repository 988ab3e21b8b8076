import { type IncomingMessage, STATUS_CODES } from 'node:http'
import { formatDuration } from '../config/values.ts'
import { type FailedBecause, HOP_EPOCH } from './messages.ts'

/** What the front answers by itself. */
export class Refusal extends Error {
  readonly status: number
  /** `null`: no failure, or the client's own. */
  readonly reason: FailedBecause | null
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
    this.headers = { ...headers, ...(status === 503 && { 'retry-after': '1' }) }
  }

  get body(): string {
    return `${JSON.stringify({ error: this.message })}\n`
  }

  /** With its body's. */
  get allHeaders(): Record<string, string> {
    return {
      'content-type': 'application/json; charset=utf-8',
      'content-length': String(Buffer.byteLength(this.body)),
      'x-content-type-options': 'nosniff',
      ...this.headers,
    }
  }

  /** For a connection that no longer belongs to an HTTP server. */
  get wholeAnswer(): string {
    const headers = Object.entries({ ...this.allHeaders, connection: 'close' })
    const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    return `HTTP/1.1 ${this.status} ${STATUS_CODES[this.status]}\r\n${lines}\r\n${this.body}`
  }
}

const AGAIN = 'it did not reach LangFlow, so that it can be sent again'

export function heldTooLong(holdTimeoutMs: number): Refusal {
  return new Refusal(
    503,
    `no replica could take this request within ${formatDuration(holdTimeoutMs)}: ${AGAIN}`,
    'hold_timeout',
  )
}

export function tooManyHeld(holdLimit: number): Refusal {
  return new Refusal(503, `${holdLimit} requests are waiting for a replica already: ${AGAIN}`, 'hold_limit')
}

export function outcomeUnknown(): Refusal {
  return new Refusal(
    502,
    'the connection broke before LangFlow answered: whether it did what was asked, the outcome, is unknown',
    'outcome_unknown',
  )
}

/** Of a hop that is not for this front: the front that sent it waits for the leader of that epoch. */
export function notTheLeader(epoch: number): Refusal {
  return new Refusal(421, 'this replica does not lead', null, { [HOP_EPOCH]: String(epoch) })
}

export function notToBeForwarded(why: string): Refusal {
  return new Refusal(400, `this request cannot be forwarded: ${why}`)
}

/** What is wrong with a request that Node takes all the same; `null`: nothing. */
export function faultOf({ httpVersionMajor, rawHeaders }: IncomingMessage): Refusal | null {
  if (httpVersionMajor !== 1) return new Refusal(505, 'this is no request of HTTP/1.0 or HTTP/1.1')
  const hosts = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host')
  return hosts.length > 1 ? notToBeForwarded('it has more than one Host') : null
}

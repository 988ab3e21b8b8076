import { randomBytes } from 'node:crypto'
import { request } from 'undici'
import * as z from 'zod/mini'
import { OperationError } from '../exit-codes.ts'

/** LangFlow at the address that its users use. */
export interface Service {
  /** The request of one attempt, for messages. */
  readonly what: string
  /** Makes one attempt. Resolves to `null` after a good answer, else to the problem in a few words. */
  ask(number: number, signal: AbortSignal): Promise<string | null>
  /**
   * Reads the numbers of the stored messages, and deletes these messages. Both reject with an `OperationError` if LangFlow refuses.
   * `null` if no message is stored; the RPO is not measured then.
   */
  readonly messages: { kept(): Promise<Set<number>>; forget(): Promise<void> } | null
}

/** Deadline for LangFlow to list or to delete the stored messages, in milliseconds. */
const STORED_MS = 20_000
/** Number of messages in a full page of LangFlow's list. */
const PAGE = 200
const Health = z.looseObject({ status: z.literal('ok') })
const Stored = z.array(z.looseObject({ text: z.nullish(z.string()) }))

/** Asks /health. `base`: LangFlow's address for users, which may have a path. */
export function healthAt(base: URL): Service {
  const url = prefixOf(base)
  return {
    what: `GET ${url}/health`,
    messages: null,
    async ask(_, signal) {
      const { status, json } = await answer(`${url}/health`, { signal })
      if (status !== 200) return `status ${status}`
      return z.safeParse(Health, json).success ? null : "the answer is not LangFlow's"
    },
  }
}

/** Runs a flow, given by its id or endpoint name. Each message has a number, and belongs to a session of this drill. */
export function flowAt(base: URL, flow: string, apiKey: string | null): Service {
  const url = prefixOf(base)
  const session = `langflow-leader-drill-${randomBytes(6).toString('hex')}`
  const headers = { 'content-type': 'application/json', ...(apiKey !== null && { 'x-api-key': apiKey }) }
  const run = `${url}/api/v1/run/${encodeURIComponent(flow)}?stream=false`
  const stored = `${url}/api/v1/monitor/messages`

  async function ask(number: number, signal: AbortSignal): Promise<string | null> {
    const text = `${session} message ${number}.`
    const message = { input_value: text, input_type: 'chat', output_type: 'chat', session_id: session }
    const { status } = await answer(run, { method: 'POST', headers, body: JSON.stringify(message), signal })
    return status === 200 ? null : `status ${status}`
  }

  async function kept(): Promise<Set<number>> {
    const numbered = new RegExp(`${session} message (\\d+)\\.`)
    const numbers = new Set<number>()
    // The newest messages come first. A message that is stored during the reads moves the others to later pages, and hides no message.
    for (let offset = 0; ; offset += PAGE) {
      const page = await answerOfStore('GET', `?session_id=${session}&limit=${PAGE}&offset=${offset}`)
      const { data: messages } = z.safeParse(Stored, page)
      if (messages === undefined)
        throw notServed(`the answer of ${stored} is not a list of messages: check the address in --service`)
      for (const { text } of messages) {
        const [, number] = numbered.exec(text ?? '') ?? []
        if (number !== undefined) numbers.add(Number(number))
      }
      if (messages.length < PAGE) return numbers
    }
  }

  async function forget(): Promise<void> {
    await answerOfStore('DELETE', `/session/${session}`)
  }

  async function answerOfStore(method: 'GET' | 'DELETE', rest: string): Promise<unknown> {
    const signal = AbortSignal.timeout(STORED_MS)
    const { status, json } = await answer(`${stored}${rest}`, { method, headers, signal }).catch((error) => {
      throw notServed(`${method} ${stored}: ${error.message}`)
    })
    if (status < 300) return json
    throw notServed(`${method} ${stored}: status ${status}`)
  }

  return { what: `POST ${run}`, ask, messages: { kept, forget } }
}

function prefixOf({ href }: URL): string {
  return href.replace(/\/+$/, '')
}

export function notServed(sentence: string): OperationError {
  return new OperationError('not_served', sentence)
}

/**
 * Sends a request over a new connection, as a new user would. A kept connection would stay at one replica, and end in its drain.
 * `json` is `null` if the answer is not JSON.
 */
async function answer(url: string, asked: NonNullable<Parameters<typeof request>[1]>) {
  const { statusCode, body } = await request(url, { ...asked, reset: true })
  return { status: statusCode, json: await body.json().catch(() => null) }
}

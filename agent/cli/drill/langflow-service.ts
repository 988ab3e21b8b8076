import { randomBytes } from 'node:crypto'
import * as z from 'zod/mini'
import { type LangflowApi, notServed } from './langflow-api.ts'

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

/** Number of messages in a full page of LangFlow's list. */
const PAGE = 200
const Health = z.looseObject({ status: z.literal('ok') })
/** LangFlow's answer 404 for an unknown flow. Another program at the address answers 404 without it. */
const Unknown = z.looseObject({ detail: z.string().check(z.regex(/^Flow .*not found$/)) })
const Stored = z.array(z.looseObject({ text: z.nullish(z.string()) }))

/** Asks /health. */
export function healthAt(api: LangflowApi): Service {
  return {
    what: `GET ${api.url}/health`,
    messages: null,
    async ask(_, signal) {
      const { status, json } = await api.ask('GET', '/health', null, signal)
      if (status !== 200) return `status ${status}`
      return z.safeParse(Health, json).success ? null : "the answer is not LangFlow's"
    },
  }
}

/** The problem of an attempt, if LangFlow answers that it does not have this flow. */
export function noSuchFlow(flow: string): string {
  return `LangFlow has no flow ${flow} for this API key`
}

/** Runs a flow, given by its id or endpoint name. Each message has a number, and belongs to a session of this drill. */
export function flowAt(api: LangflowApi, flow: string): Service {
  const session = `langflow-leader-drill-${randomBytes(6).toString('hex')}`
  const run = `/api/v1/run/${encodeURIComponent(flow)}?stream=false`
  const stored = '/api/v1/monitor/messages'

  async function ask(number: number, signal: AbortSignal): Promise<string | null> {
    const text = `${session} message ${number}.`
    const message = { input_value: text, input_type: 'chat', output_type: 'chat', session_id: session }
    const { status, json } = await api.ask('POST', run, message, signal)
    if (status === 404 && z.safeParse(Unknown, json).success) return noSuchFlow(flow)
    return status === 200 ? null : `status ${status}`
  }

  async function kept(): Promise<Set<number>> {
    const numbered = new RegExp(`${session} message (\\d+)\\.`)
    const numbers = new Set<number>()
    // The newest messages come first. A message that is stored during the reads moves the others to later pages, and hides no message.
    for (let offset = 0; ; offset += PAGE) {
      const query = `?session_id=${session}&limit=${PAGE}&offset=${offset}`
      const { data: messages } = z.safeParse(Stored, await api.store('GET', `${stored}${query}`))
      if (messages === undefined)
        throw notServed(
          `the answer of ${api.url}${stored} is not a list of messages: check the address in --service`,
        )
      for (const { text } of messages) {
        const [, number] = numbered.exec(text ?? '') ?? []
        if (number !== undefined) numbers.add(Number(number))
      }
      if (messages.length < PAGE) return numbers
    }
  }

  async function forget(): Promise<void> {
    await api.store('DELETE', `${stored}/session/${session}`)
  }

  return { what: `POST ${api.url}${run}`, ask, messages: { kept, forget } }
}

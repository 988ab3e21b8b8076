import { randomBytes } from 'node:crypto'
import { request } from 'undici'
import { OperationError } from '../exit-codes.ts'

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

const LISTED_WITHIN_MS = 20_000
const PAGE_LENGTH = 200
const MESSAGES = '/api/v1/monitor/messages'

/** Requests /health, or runs a flow, given by its id or endpoint name. `service` may have a path. */
export function serviceAt(service: URL, flow: string | null, apiKey: string | null): Service {
  const url = service.href.replace(/\/+$/, '')
  // Each message has a number, and belongs to a session of this drill.
  const session = `langflow-leader-drill-${randomBytes(6).toString('hex')}`
  const [method, path] =
    flow === null
      ? (['GET', '/health'] as const)
      : (['POST', `/api/v1/run/${encodeURIComponent(flow)}`] as const)

  /** Uses a new connection, as a new user would. A kept connection would stay at one replica, and end in its drain. */
  async function send(method: 'GET' | 'POST' | 'DELETE', path: string, signal: AbortSignal, body?: object) {
    const headers = { 'content-type': 'application/json', ...(apiKey && { 'x-api-key': apiKey }) }
    const sent = { method, headers, body: body ? JSON.stringify(body) : null, signal, reset: true }
    const answer = await request(`${url}${path}`, sent)
    return { status: answer.statusCode, json: await answer.body.json().catch(() => null) }
  }

  async function ask(number: number, signal: AbortSignal): Promise<string | null> {
    const text = `${session} message ${number}.`
    const message = { input_value: text, input_type: 'chat', output_type: 'chat', session_id: session }
    const { status } = await send(method, path, signal, flow === null ? undefined : message)
    if (status === 404 && flow !== null)
      return 'status 404: set --flow to the id or the endpoint name of a flow of this API key'
    return status === 200 ? null : `status ${status}`
  }

  async function stored(method: 'GET' | 'DELETE', path: string): Promise<unknown> {
    const signal = AbortSignal.timeout(LISTED_WITHIN_MS)
    const answer = await send(method, MESSAGES + path, signal).catch(
      (error) => error as NodeJS.ErrnoException,
    )
    if (!(answer instanceof Error) && answer.status < 300) return answer.json
    const problem = answer instanceof Error ? answer.message || answer.code : `status ${answer.status}`
    throw new OperationError('not_served', `${method} ${url}${MESSAGES}: ${problem}`)
  }

  async function kept(): Promise<Set<number>> {
    const numbered = new RegExp(`${session} message (\\d+)\\.`, 'g')
    const numbers = new Set<number>()
    // The newest messages come first. A message that is stored during the reads moves the others to later pages, and hides no message.
    for (let offset = 0; ; offset += PAGE_LENGTH) {
      const page = await stored('GET', `?session_id=${session}&limit=${PAGE_LENGTH}&offset=${offset}`)
      const wrong = `${url}${MESSAGES} is not a list of messages: correct --service`
      if (!Array.isArray(page)) throw new OperationError('not_served', wrong)
      for (const [, number] of JSON.stringify(page).matchAll(numbered)) numbers.add(Number(number))
      if (page.length < PAGE_LENGTH) return numbers
    }
  }

  const forget = async () => void (await stored('DELETE', `/session/${session}`))
  return { what: `${method} ${url}${path}`, ask, messages: flow === null ? null : { kept, forget } }
}

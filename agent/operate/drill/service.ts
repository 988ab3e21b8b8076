import { randomBytes } from 'node:crypto'
import { request } from 'undici'
import * as z from 'zod/mini'

/** LangFlow as its users reach it. */
export interface Service {
  /** What one attempt does, for the report. */
  readonly what: string
  /** One attempt. Resolves to why there was no good answer, in a few words, or to `null`. */
  ask(number: number, signal: AbortSignal): Promise<string | null>
  /** What the answers are remembered by; `null`: nothing is stored, so that no RPO can be measured. */
  readonly rows: Rows | null
}

export interface Rows {
  /** The numbers of all messages that are stored. Rejects where LangFlow does not say. */
  kept(): Promise<Set<number>>
  /** Deletes them. */
  forget(): Promise<void>
}

export interface ServiceOptions {
  /** Where users reach LangFlow, without a slash at the end. */
  readonly url: string
  /** Which flow is run, by its id or its endpoint name; `null`: LangFlow's `/health` is asked instead. */
  readonly flow: string | null
  readonly apiKey: string | null
}

/** How long LangFlow may take to tell, or to delete, what is stored, in milliseconds. */
const ROWS_MS = 20_000
/** What LangFlow answers at most at once. */
const PAGE = 200
/** More than the fastest prober sends within a day. */
const MOST_PAGES = 10_000
const Health = z.looseObject({ status: z.literal('ok') })
const Messages = z.array(z.looseObject({ text: z.nullish(z.string()) }))

export function serviceAt(options: ServiceOptions): Service {
  return options.flow === null ? healthOf(options.url) : flowOf(options, options.flow)
}

function healthOf(url: string): Service {
  return {
    what: `GET ${url}/health`,
    rows: null,
    async ask(_, signal) {
      const { status, text } = await answer(`${url}/health`, { signal })
      if (status !== 200) return `status ${status}`
      return z.safeParse(Health, parsed(text)).success ? null : "an answer that is not LangFlow's"
    },
  }
}

/** Runs a flow with a number in each message, in a session of this drill's own. */
function flowOf({ url, apiKey }: ServiceOptions, flow: string): Service {
  const session = `langflow-leader-drill-${randomBytes(6).toString('hex')}`
  const headers = { 'content-type': 'application/json', ...(apiKey !== null && { 'x-api-key': apiKey }) }
  const messageOf = (number: number) => `${session} message ${number}.`
  const numbered = new RegExp(`${session} message (\\d+)\\.`)
  const run = `${url}/api/v1/run/${encodeURIComponent(flow)}?stream=false`
  const stored = `${url}/api/v1/monitor/messages`
  return {
    what: `POST ${run}`,
    async ask(number, signal) {
      const message = { input_value: messageOf(number), input_type: 'chat', output_type: 'chat' }
      const body = JSON.stringify({ ...message, session_id: session })
      const { status, text } = await answer(run, { method: 'POST', headers, body, signal })
      if (status === 200) return null
      return `status ${status}${status < 500 ? detailOf(text) : ''}`
    },
    rows: {
      async kept() {
        const numbers = new Set<number>()
        // The newest come first: what is stored meanwhile moves others to later pages, and hides none.
        for (let page = 0; page < MOST_PAGES; page++) {
          const query = new URLSearchParams({
            session_id: session,
            limit: String(PAGE),
            offset: String(page * PAGE),
          })
          const signal = AbortSignal.timeout(ROWS_MS)
          const { status, text } = await answer(`${stored}?${query}`, { headers, signal })
          if (status !== 200) throw new Error(`LangFlow answers ${status} to what is stored${detailOf(text)}`)
          const { data: messages } = z.safeParse(Messages, parsed(text))
          if (messages === undefined)
            throw new Error(`${stored} does not answer with messages: let --service name LangFlow`)
          for (const { text } of messages) {
            const number = numbered.exec(text ?? '')?.[1]
            if (number !== undefined) numbers.add(Number(number))
          }
          if (messages.length < PAGE) break
        }
        return numbers
      },
      async forget() {
        const signal = AbortSignal.timeout(ROWS_MS)
        const { status } = await answer(`${stored}/session/${session}`, { method: 'DELETE', headers, signal })
        if (status >= 300) throw new Error(`LangFlow answers ${status} to their deletion`)
      },
    },
  }
}

interface Asked {
  readonly method?: 'GET' | 'POST' | 'DELETE'
  readonly headers?: Record<string, string>
  readonly body?: string
  readonly signal: AbortSignal
}

/** Over a connection of its own, as a new user: it goes wherever the service leads to now, and an idle one would be drained. */
async function answer(url: string, asked: Asked): Promise<{ status: number; text: string }> {
  try {
    const { statusCode, body } = await request(url, { ...asked, reset: true })
    return { status: statusCode, text: await body.text() }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new Error(code === undefined ? message : (WORDS[code] ?? `${message} (${code})`), { cause: error })
  }
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection reset',
  UND_ERR_SOCKET: 'connection closed',
  ENOTFOUND: 'the host name is unknown',
  EAI_AGAIN: 'the host name cannot be resolved at the moment',
}

/** FastAPI's own word. */
function detailOf(text: string): string {
  const { detail } = (parsed(text) ?? {}) as { detail?: unknown }
  return typeof detail === 'string' ? ` (${detail.slice(0, 120)})` : ''
}

/** `null`: it is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

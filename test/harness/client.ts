import { Agent, request } from 'undici'
import { mono } from './wait.ts'

export interface Asked {
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface Call<A = unknown> {
  readonly sentAt: number
  readonly endedAt: number
  readonly to: string | null
  readonly answer: A | null
  readonly failure: string | null
}

export interface Tally {
  readonly calls: number
  readonly failed: number
  readonly longestSilenceMs: number
  readonly failures: Readonly<Record<string, number>>
}

interface ClientOptions<A> {
  readonly everyMs: number
  readonly withinMs: number
  /** The target of the next request. `undefined`: no replica is ready. */
  readonly target: () => { readonly to: string; readonly url: string } | undefined
  readonly asked?: Asked
  readonly read: (text: string) => A
}

export class Client<A> {
  readonly calls: Call<A>[] = []
  readonly #options: ClientOptions<A>
  readonly #inFlight = new Set<Promise<void>>()
  readonly #timer: NodeJS.Timeout

  constructor(options: ClientOptions<A>) {
    this.#options = options
    this.#timer = setInterval(() => this.#send(), options.everyMs)
  }

  get answers(): A[] {
    return this.calls.flatMap(({ answer }) => (answer === null ? [] : [answer]))
  }

  /** Number of answered requests that were sent since this time, to any replica or to one of them. */
  answered(since: number, by?: string): number {
    return this.calls.filter(
      ({ sentAt, to, failure }) => failure === null && sentAt >= since && (by === undefined || to === by),
    ).length
  }

  failed(after = 0): Call<A>[] {
    return this.calls.filter(({ failure, sentAt }) => failure !== null && sentAt > after)
  }

  since(from: number): Tally {
    return tally(this.calls, from, mono())
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#inFlight)
  }

  #send(): void {
    const { target, read, asked, withinMs } = this.#options
    const sentAt = mono()
    const next = target()
    if (next === undefined) {
      this.calls.push({ sentAt, endedAt: sentAt, to: null, answer: null, failure: 'no replica was ready' })
      return
    }
    const call = askOnce(next.url, read, { ...asked, withinMs }).then(
      (answer) => this.#ended(sentAt, next.to, answer, null),
      (error: Error) => this.#ended(sentAt, next.to, null, error.message),
    )
    this.#inFlight.add(call)
    void call.then(() => this.#inFlight.delete(call))
  }

  #ended(sentAt: number, to: string, answer: A | null, failure: string | null): void {
    this.calls.push({ sentAt, endedAt: mono(), to, answer, failure })
  }
}

const dispatcher = new Agent({ pipelining: 0, connections: null })

export async function askOnce<A>(
  url: string,
  read: (text: string) => A,
  { withinMs = 5_000, ...asked }: Asked & { readonly withinMs?: number } = {},
): Promise<A> {
  let text: string
  try {
    const signal = AbortSignal.timeout(withinMs)
    const { statusCode, body } = await request(url, { ...asked, dispatcher, signal })
    text = await body.text()
    if (statusCode !== 200) throw new Error(`status ${statusCode}`)
  } catch (error) {
    throw new Error(inWords(error as NodeJS.ErrnoException, withinMs))
  }
  return read(text)
}

function inWords({ name, code, message }: NodeJS.ErrnoException, withinMs: number): string {
  if (name === 'TimeoutError') return `no answer within ${withinMs / 1000} s`
  if (code === 'ECONNREFUSED') return 'connection refused'
  if (code === 'ECONNRESET' || code === 'UND_ERR_SOCKET') return 'connection cut'
  return code ?? message
}

export function tally(calls: readonly Call[], from: number, to: number): Tally {
  const inTime = calls.filter(({ sentAt, endedAt }) => sentAt >= from && endedAt <= to)
  const failures: Record<string, number> = {}
  for (const { failure } of inTime) if (failure !== null) failures[failure] = (failures[failure] ?? 0) + 1
  // An answer to an earlier request counts here too: it shows that a replica served at this time.
  const answered = calls
    .filter(({ failure, endedAt }) => failure === null && endedAt > from && endedAt < to)
    .map(({ endedAt }) => endedAt)
    .sort((a, b) => a - b)
  const marks = [from, ...answered, to]
  return {
    calls: inTime.length,
    failed: inTime.filter(({ failure }) => failure !== null).length,
    longestSilenceMs: Math.max(...marks.slice(1).map((at, n) => at - (marks[n] as number))),
    failures,
  }
}

import { Agent, request } from 'undici'
import { mono } from '../../support/stage.ts'
import type { Call } from './calls.ts'
import type { Place, Routes } from './routes.ts'

const EVERY_MS = 100
const PATIENCE_MS = 30_000
const TEXT = 'is anybody there?'
const PATH = '/api/v1/run/echo?stream=false'

/** Runs the echo flow ten times a second, each on a connection of its own, with whoever is ready. It never tries twice. */
export class Client {
  readonly calls: Call[] = []
  readonly #routes: Routes
  readonly #apiKey: string
  readonly #dispatcher = new Agent({ pipelining: 0, connections: null })
  readonly #inFlight = new Set<Promise<void>>()
  readonly #timer: NodeJS.Timeout
  #stopped: Promise<void> | undefined

  constructor(routes: Routes, apiKey: string) {
    this.#routes = routes
    this.#apiKey = apiKey
    this.#timer = setInterval(() => this.#send(), EVERY_MS)
  }

  /** How many requests that were sent since then were answered well, by anyone or by one. */
  answered(since: number, by?: string): number {
    return this.calls.filter(
      ({ sentAt, to, failure }) => failure === null && sentAt >= since && (by === undefined || to === by),
    ).length
  }

  /** Sends no more, and resolves once all have ended. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#inFlight)
    await this.#dispatcher.close()
  }

  #send(): void {
    const sentAt = mono()
    const place = this.#routes.route
    if (place === undefined) {
      this.calls.push({ sentAt, endedAt: sentAt, to: null, failure: 'nobody was ready' })
      return
    }
    const call = this.#run(place).then((failure) => {
      this.calls.push({ sentAt, endedAt: mono(), to: place.name, failure })
      this.#inFlight.delete(call)
    })
    this.#inFlight.add(call)
  }

  /** What went wrong; `null`: it said what it had heard. */
  async #run({ port }: Place): Promise<string | null> {
    try {
      const { statusCode, body } = await request(`http://127.0.0.1:${port}${PATH}`, {
        dispatcher: this.#dispatcher,
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-api-key': this.#apiKey },
        body: JSON.stringify({ input_value: TEXT, input_type: 'chat', output_type: 'chat' }),
        signal: AbortSignal.timeout(PATIENCE_MS),
      })
      const text = await body.text()
      if (statusCode !== 200) return `status ${statusCode}`
      return text.includes(TEXT) ? null : 'another answer than the flow gives'
    } catch (error) {
      return inWords(error as NodeJS.ErrnoException)
    }
  }
}

function inWords({ name, code, message }: NodeJS.ErrnoException): string {
  if (name === 'TimeoutError') return `no answer within ${PATIENCE_MS / 1000} s`
  if (code === 'ECONNREFUSED') return 'connection refused'
  if (code === 'ECONNRESET' || code === 'UND_ERR_SOCKET') return 'connection cut'
  return code ?? message
}

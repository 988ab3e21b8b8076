import { get } from 'node:http'

/** What a stand-in says of itself. */
export interface Answer {
  readonly replica: string
  readonly epoch: number
  readonly pid: number
  /** CLOCK_MONOTONIC in ms, when it answered. */
  readonly mono: number
}

export interface Call {
  /** CLOCK_MONOTONIC in ms. */
  readonly sentAt: number
  /** When the answer, or its absence, was known. */
  readonly endedAt: number
  readonly answer: Answer | null
  /** Why there is no answer. */
  readonly failure: string | null
}

export interface Tally {
  readonly calls: number
  readonly failed: number
  /** Milliseconds between two answers, or to either end of the time that is looked at. */
  readonly longestSilenceMs: number
  /** Why calls failed, and how many did. */
  readonly failures: Readonly<Record<string, number>>
}

const EVERY_MS = 50
const TIMEOUT_MS = 5_000

/** CLOCK_MONOTONIC in ms: the clock of every process of this kernel. */
export function mono(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** Someone who depends on the Service: asks it 20 times a second, on a new connection each time, and never tries twice. */
export class SteadyClient {
  /** In the order in which they ended. */
  readonly calls: Call[] = []
  readonly #timer: NodeJS.Timeout
  readonly #url: string
  readonly #read: (text: string) => Answer

  /** `read`: makes an answer of a text, and throws where it is none. */
  constructor(url: string, read: (text: string) => Answer) {
    this.#url = url
    this.#read = read
    this.#timer = setInterval(() => void this.#call(), EVERY_MS)
  }

  /** What became of the calls that were sent since then. */
  since(from: number): Tally {
    return tallyOf(this.calls, from, mono())
  }

  get answers(): Answer[] {
    return answersOf(this.calls)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  async #call(): Promise<void> {
    const sentAt = mono()
    const [answer, failure] = await askOnce(this.#url, this.#read).then(
      (got) => [got, null] as const,
      (error: NodeJS.ErrnoException) => [null, error.code ?? error.message] as const,
    )
    this.calls.push({ sentAt, endedAt: mono(), answer, failure })
  }
}

/** On a connection of its own. Rejects where the answer is none, and after `timeoutMs`. */
export function askOnce(
  url: string,
  read: (text: string) => Answer,
  timeoutMs = TIMEOUT_MS,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = get(url, { agent: false, signal: AbortSignal.timeout(timeoutMs) }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk
      })
      response.once('error', reject)
      response.once('end', () => {
        if (response.statusCode !== 200) return reject(new Error(`HTTP ${response.statusCode}`))
        try {
          resolve(read(text))
        } catch (error) {
          reject(error)
        }
      })
    })
    asked.once('error', reject)
  })
}

export function tallyOf(calls: readonly Call[], from: number, to: number): Tally {
  const inTime = calls.filter(({ sentAt, endedAt }) => sentAt >= from && endedAt <= to)
  const failures: Record<string, number> = {}
  for (const { failure } of inTime) if (failure !== null) failures[failure] = (failures[failure] ?? 0) + 1
  // One that was sent before and answered after counts as well: somebody served meanwhile.
  const answered = calls
    .filter(({ answer, endedAt }) => answer !== null && endedAt > from && endedAt < to)
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

/** In the order in which they were given. */
export function answersOf(calls: readonly Call[]): Answer[] {
  return calls.flatMap(({ answer }) => (answer === null ? [] : [answer])).sort((a, b) => a.mono - b.mono)
}

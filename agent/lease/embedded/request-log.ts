import { type ApiRequest, matches, type RequestMatch } from './request.ts'

export interface LoggedRequest {
  readonly request: ApiRequest
  /** CLOCK_MONOTONIC in ms, when its headers had arrived. */
  readonly at: number
  /** What was answered; `null` as long as nothing was. */
  status: number | null
}

const KEPT = 10_000

/** What was asked of the API, in order: the last ten thousand requests. */
export class RequestLog {
  readonly #entries: LoggedRequest[] = []
  readonly #waiting = new Set<() => void>()

  add(request: ApiRequest, at: number): LoggedRequest {
    const entry: LoggedRequest = { request, at, status: null }
    this.#entries.push(entry)
    if (this.#entries.length > KEPT) this.#entries.shift()
    this.#tell()
    return entry
  }

  answered(entry: LoggedRequest, status: number): void {
    entry.status = status
    this.#tell()
  }

  list(match: RequestMatch = {}): LoggedRequest[] {
    return this.#entries.filter((entry) => matches(match, entry.request))
  }

  count(match: RequestMatch = {}): number {
    return this.list(match).length
  }

  /** Resolves with the `count`th matching request from the start, as soon as it was made (or answered). */
  waitFor(match: RequestMatch, options: { count?: number; answered?: boolean } = {}): Promise<LoggedRequest> {
    const { count = 1, answered = false } = options
    return new Promise((resolve) => {
      const look = () => {
        const found = this.list(match).filter((entry) => !answered || entry.status !== null)[count - 1]
        if (!found) return
        this.#waiting.delete(look)
        resolve(found)
      }
      this.#waiting.add(look)
      look()
    })
  }

  #tell(): void {
    for (const look of [...this.#waiting]) look()
  }
}

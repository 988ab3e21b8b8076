import type { ApiRequest, Verb } from '../../../agent/demo/api-server.ts'

/** Which requests a fault or a counter means; a field left out means any. */
export interface RequestMatch {
  readonly verb?: Verb | readonly Verb[]
  /** NAME of a base path `/clients/NAME`. */
  readonly client?: string
}

export function matches({ verb, client }: RequestMatch, request: ApiRequest): boolean {
  if (verb !== undefined && ![verb].flat().includes(request.verb)) return false
  return client === undefined || client === clientOf(request)
}

export function clientOf({ path }: ApiRequest): string | undefined {
  const [, client] = /^\/clients\/([^/]+)\//.exec(path) ?? []
  return client === undefined ? undefined : decodeURIComponent(client)
}

export interface LoggedRequest {
  readonly request: ApiRequest
  /** CLOCK_MONOTONIC in ms, when it had arrived. */
  readonly at: number
  /** What was answered; `null` as long as nothing was. */
  status: number | null
}

/** What was asked of the API, in order. */
export class RequestLog {
  readonly #entries: LoggedRequest[] = []
  readonly #waiting = new Set<() => void>()

  add(request: ApiRequest, at: number): LoggedRequest {
    const entry: LoggedRequest = { request, at, status: null }
    this.#entries.push(entry)
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

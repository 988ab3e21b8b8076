import { setTimeout as sleep } from 'node:timers/promises'

const LOOK_MS = 50
const WITHIN_MS = 30_000
/** How long any awaited event may take; no measurement, only the end of a test that hangs. */
const EVENT_WITHIN_MS = 90_000

/** CLOCK_MONOTONIC in ms: the clock of every process of this kernel, and of what workloads write. */
export function mono(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** For what no event tells of: looks each 50 ms, and rejects where that takes too long. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs = WITHIN_MS,
): Promise<void> {
  const end = performance.now() + withinMs
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`${what}: not within ${withinMs / 1000} s`)
    await sleep(LOOK_MS)
  }
}

/** What comes one after the other, and can be awaited: lines of a log, versions of an object. */
export class Series<T> {
  readonly list: T[] = []
  readonly #context: () => string
  readonly #looks = new Set<(end?: string) => void>()
  #ended: string | undefined

  /** `context`: what is told beside the reason where something did not come. */
  constructor(context: () => string = () => '') {
    this.#context = context
  }

  add(...more: T[]): void {
    this.list.push(...more)
    for (const look of [...this.#looks]) look()
  }

  /** Nothing more comes, for this reason. */
  end(why: string): void {
    this.#ended ??= why
    for (const look of [...this.#looks]) look(this.#ended)
  }

  /** The first from place `from` on that matches. Rejects when it does not come in time, or before the end. */
  next(what: string, matches: (one: T) => boolean, from = 0, withinMs = EVENT_WITHIN_MS): Promise<T> {
    return new Promise((resolve, reject) => {
      const look = (end?: string) => {
        const found = this.list.slice(from).find(matches)
        if (found === undefined && end === undefined) return
        clearTimeout(timer)
        this.#looks.delete(look)
        if (found !== undefined) resolve(found)
        else reject(new Error(`${what} did not come: ${end}${this.#context()}`))
      }
      const timer = setTimeout(() => look(`waited for ${withinMs / 1000} s`), withinMs)
      this.#looks.add(look)
      look(this.#ended)
    })
  }
}

import { setTimeout as sleep } from 'node:timers/promises'

const CHECK_MS = 50
/** Ends a test that hangs; it's no measured limit. */
const WITHIN_MS = 90_000

/** CLOCK_MONOTONIC in ms. All processes of one kernel share this clock, and workloads write its time. */
export function mono(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** Waits for a state that has no event. Checks every 50 ms, and rejects after `withinMs`, even if a check never ends. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs = WITHIN_MS,
): Promise<void> {
  const late = Promise.withResolvers<never>()
  const error = new Error(`${what}: not reached within ${withinMs / 1000} s`)
  const timer = setTimeout(() => late.reject(error), withinMs)
  try {
    // The limit comes first: a check that answers at once would always win the race.
    while (!(await Promise.race([late.promise, holds()]))) await sleep(CHECK_MS)
  } finally {
    clearTimeout(timer)
  }
}

/** A series of items to wait for, such as lines of a log or versions of an object. */
export class Series<T> {
  readonly list: T[] = []
  readonly #context: () => string
  readonly #waiters = new Set<(end?: string) => void>()
  #ended: string | undefined

  /** `context`: text to append to the error if an item doesn't come. */
  constructor(context: () => string = () => '') {
    this.#context = context
  }

  add(...more: T[]): void {
    this.list.push(...more)
    for (const check of [...this.#waiters]) check()
  }

  end(why: string): void {
    this.#ended ??= why
    for (const check of [...this.#waiters]) check(this.#ended)
  }

  next(what: string, matches: (one: T) => boolean, from = 0, withinMs = WITHIN_MS): Promise<T> {
    return new Promise((resolve, reject) => {
      const check = (end?: string) => {
        const found = this.list.slice(from).find(matches)
        if (found === undefined && end === undefined) return
        clearTimeout(timer)
        this.#waiters.delete(check)
        if (found !== undefined) resolve(found)
        else reject(new Error(`${what} did not come: ${end}${this.#context()}`))
      }
      const timer = setTimeout(() => check(`waited for ${withinMs / 1000} s`), withinMs)
      this.#waiters.add(check)
      check(this.#ended)
    })
  }
}

import type { Happening } from './journal.ts'

/** Each replica had its try. */
const ENOUGH = 3

/** Counts the leaders that gave up before they served, so that nobody waits for what will never work. */
export class Setbacks {
  #inARow = 0

  /** One sentence once so many in a row gave up that there is no hope; else `null`. */
  hear({ event, reason }: Happening): string | null {
    if (event === 'serving') this.#inARow = 0
    if (event === 'stepped_down') this.#inARow++
    if (this.#inARow < ENOUGH) return null
    return `${ENOUGH} leaders in a row could not run the workload, the last one because ${reason}`
  }
}

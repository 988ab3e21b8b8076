import type { Clock } from '../clock.ts'
import { LeaseApiError } from './lease-api.ts'

/** Parts of the deadline after which another attempt begins. */
const FURTHER_ATTEMPTS = [1 / 4, 1 / 2]

/**
 * The first answer of up to three attempts, each of which goes another way: while nobody answers, the next begins, and those
 * before it go on. For what may be sent twice. Rejects with the server's refusal, or as the first attempt did.
 */
export function hedged<T>(
  clock: Clock,
  deadlineMs: number,
  attempt: (deadlineMs: number) => Promise<T>,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const failures: unknown[] = []
    let running = 0
    const over = () => {
      for (const timer of timers) timer.cancel()
    }
    const begin = (index: number, leftMs: number) => {
      running++
      attempt(leftMs).then(
        (answer) => {
          over()
          resolve(answer)
        },
        (failure: unknown) => {
          running--
          failures[index] = failure
          const refused = failure instanceof LeaseApiError && failure.status !== undefined
          if (!refused && running > 0) return
          over()
          reject(refused ? failure : failures.find(Boolean))
        },
      )
    }
    const timers = FURTHER_ATTEMPTS.map((part, n) =>
      clock.after(part * deadlineMs, () => begin(n + 1, (1 - part) * deadlineMs)),
    )
    begin(0, deadlineMs)
  })
}

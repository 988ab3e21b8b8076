import type { Clock } from '../clock.ts'
import { ApiError } from '../kube/errors.ts'
import { type Lease, sameRecord } from './lease.ts'

/** Parts of the deadline after which another attempt begins. */
const FURTHER_ATTEMPTS = [1 / 4, 1 / 2]
/** Of an update's deadline: so long it is waited for, and then so long for a read. */
const LOOK_PART = 0.4

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
          const refused = failure instanceof ApiError && failure.status !== undefined
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

export interface Update {
  /** The body that was sent. */
  readonly lease: Lease
  readonly answer: Promise<Lease>
  readonly deadlineMs: number
  /** Over another connection. */
  read(deadlineMs: number): Promise<Lease | null>
  /** It was not carried out `afterMs` after it was sent, and may still be. */
  late(afterMs: number): ApiError
  /** Told what is shown beside the outcome: by the read, and by an answer that comes after it. */
  seen(lease: Lease): void
}

/**
 * The connection of an update that is not answered may be dead, or the server slow. A read over a new connection tells
 * what became of it, and is itself the way for the next one. The update is left to itself until its own deadline: a slow
 * server may still carry it out.
 */
export function lookedAfter(clock: Clock, update: Update): Promise<Lease> {
  const { lease, answer, deadlineMs, read, late, seen } = update
  const { promise, resolve, reject } = Promise.withResolvers<Lease>()
  let settled = false
  const look = async () => {
    const present = await read(LOOK_PART * deadlineMs).catch(() => undefined)
    if (present === undefined) return
    if (settled) {
      // The answer was faster; what was read may be newer.
      if (present !== null) seen(present)
      return
    }
    settled = true
    if (present?.metadata.resourceVersion === lease.metadata.resourceVersion)
      reject(late(LOOK_PART * deadlineMs))
    else if (present !== null && sameRecord(present, lease)) resolve(present)
    else {
      if (present !== null) seen(present)
      reject(new ApiError('conflict', 'the Lease has changed since it was read'))
    }
  }
  const timer = clock.after(LOOK_PART * deadlineMs, () => void look())
  answer
    .then(
      (written) => (settled ? seen(written) : resolve(written)),
      (error) => reject(error),
    )
    .finally(() => {
      settled = true
      timer.cancel()
    })
  return promise
}

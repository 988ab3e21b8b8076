import { setTimeout as sleep } from 'node:timers/promises'
import { mono } from '../support/stage.ts'
import type { Asker } from './asker.ts'
import type { Poll } from './judge.ts'
import type { Seat } from './seat.ts'

const EVERY_MS = 250
const TIMEOUT_MS = 2_000

/** Asks one pod's agent after the other's answer, each quarter of a second, until it is told to end. */
export async function pollReadiness(
  seat: Seat,
  asker: Asker,
  told: (poll: Poll) => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const sentAt = mono()
    const replica = seat.identity
    const answer = await asker.ask(seat.pod.httpPort, '/readyz', TIMEOUT_MS)
    if (!signal.aborted) told({ replica, sentAt, answeredAt: mono(), ready: answer?.status === 200 })
    await sleep(Math.max(0, sentAt + EVERY_MS - mono()), undefined, { signal }).catch(() => {})
  }
}

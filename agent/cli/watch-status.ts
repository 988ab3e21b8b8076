import { addAbortListener } from 'node:events'
import type { Clock } from '../clock.ts'
import { oneLine } from '../exit.ts'

export interface WatchOptions {
  /** Rejects where it cannot be told; the first time that is the end of it, later it is a warning. */
  readonly read: () => Promise<string>
  /** Between the end of one reading and the next. */
  readonly periodMs: number
  readonly signal: AbortSignal
  readonly clock: Clock
  readonly isTerminal: boolean
  readonly write: (text: string) => Promise<void>
  readonly warn: (sentence: string) => void
}

/** Moves to the top, and empties the screen. */
const CLEAR = '\u001b[H\u001b[2J'

/** Shows it again and again until `signal`: on a terminal in place of what was there. */
export async function watch(options: WatchOptions): Promise<void> {
  const { read, periodMs, signal, clock, isTerminal, write, warn } = options
  const aborted = new Promise<void>((resolve) => addAbortListener(signal, () => resolve()))
  let text: string | null = await read()
  while (!signal.aborted) {
    if (text !== null) await write(isTerminal ? `${CLEAR}${text}` : text)
    const period = Promise.withResolvers<void>()
    const timer = clock.after(periodMs, period.resolve)
    await Promise.race([period.promise, aborted])
    timer.cancel()
    if (signal.aborted) return
    const failed = ({ message }: Error) => warn(oneLine(message))
    text = (await Promise.race([read().catch(failed), aborted])) ?? null
  }
}

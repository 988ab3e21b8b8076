import type { Clock, Timer } from '../clock.ts'

/** Calls `act` at once and then `everyMs` after each time it has ended, until the returned function is called. */
export function repeat(clock: Clock, everyMs: number, act: () => Promise<void> | void): () => void {
  let timer: Timer | null = null
  let stopped = false
  const round = async () => {
    await act()
    if (!stopped) timer = clock.after(everyMs, () => void round())
  }
  void round()
  return () => {
    stopped = true
    timer?.cancel()
  }
}

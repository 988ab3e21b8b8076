import { constants } from 'node:os'

type Signal = 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'SIGPIPE'

/** The user, or the system, ended the demo. */
export class Interruption extends Error {
  readonly exitCode: number
  constructor(signal: Signal) {
    super(`ended by ${signal}`)
    this.name = 'Interruption'
    // As a shell tells it.
    this.exitCode = 128 + constants.signals[signal]
  }
}

/** Calls `interrupt` for a signal, or once nobody reads `stream` any more. Returns what stops listening. */
export function onInterruption(
  stream: NodeJS.WritableStream,
  interrupt: (why: Interruption) => void,
): () => void {
  const listeners = (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map((signal) => {
    const listener = () => interrupt(new Interruption(signal))
    process.on(signal, listener)
    return { signal, listener }
  })
  // Stays: what is written later would otherwise end the process before everything is cleared up.
  stream.on('error', () => interrupt(new Interruption('SIGPIPE')))
  return () => {
    for (const { signal, listener } of listeners) process.off(signal, listener)
  }
}

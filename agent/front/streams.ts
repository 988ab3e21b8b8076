import type { Socket } from 'node:net'
import { type Clock, pause, type Timer } from '../clock.ts'
import { passed } from './memory.ts'

const LINGER_MS = 1_000
const IDLE_MS = 2_000

type StreamsPhase =
  | { readonly name: 'open' }
  | { readonly name: 'grace'; readonly timer: Timer }
  | { readonly name: 'ended' }

/** SSE answers and websockets. They have no natural end, so a handover ends them after a grace. */
export class Streams {
  readonly #clock: Clock
  readonly #graceMs: number
  readonly #noneLeft: () => void
  readonly #ends = new Set<() => void>()
  #phase: StreamsPhase = { name: 'open' }
  #movedAt = Number.NEGATIVE_INFINITY

  /** `noneLeft` is called when the last stream is over after `endSoon`, even if all ended by themselves. */
  constructor(clock: Clock, graceMs: number, noneLeft: () => void) {
    this.#clock = clock
    this.#graceMs = graceMs
    this.#noneLeft = noneLeft
  }

  add(end: () => void): () => void {
    this.#ends.add(end)
    if (this.#phase.name === 'ended') queueMicrotask(() => this.#ends.delete(end) && end())
    return () => {
      this.#ends.delete(end)
      this.#look()
    }
  }

  /** No stream is open, or the last byte of any stream passed `IDLE_MS` ago. */
  get idle(): boolean {
    return this.#ends.size === 0 || this.#clock.mono() - this.#movedAt >= IDLE_MS
  }

  moved(): void {
    this.#movedAt = this.#clock.mono()
  }

  endSoon(by: number): void {
    const leftMs = Math.min(this.#graceMs, by - this.#clock.mono())
    if (leftMs <= 0) this.endNow()
    else if (this.#phase.name === 'open')
      this.#phase = { name: 'grace', timer: this.#clock.after(leftMs, () => this.endNow()) }
    this.#look()
  }

  endNow(): void {
    this.goOn()
    this.#phase = { name: 'ended' }
    // The hold comes first, so that reconnecting clients wait.
    this.#noneLeft()
    const ends = [...this.#ends]
    this.#ends.clear()
    for (const end of ends) end()
  }

  goOn(): void {
    if (this.#phase.name === 'grace') this.#phase.timer.cancel()
    this.#phase = { name: 'open' }
  }

  #look(): void {
    if (this.#phase.name !== 'open' && this.#ends.size === 0) this.#noneLeft()
  }
}

/** A client's websocket. Bytes pass unchanged once LangFlow has agreed. */
export class Tunnel {
  readonly #near: Socket
  readonly #clock: Clock
  #far: Socket | null = null
  #isEnded = false

  constructor(near: Socket, clock: Clock) {
    this.#near = near
    this.#clock = clock
    near.on('error', () => {}).on('end', this.#early)
    // The front reads the connection, to notice if the client disconnects. A client must wait for the answer.
    near.on('data', this.#early)
  }

  open(far: Socket, head: Buffer, moved: () => void): void {
    const near = this.#near.off('data', this.#early).off('end', this.#early)
    this.#far = far.on('error', () => {})
    far.pause().unshift(head)
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('data', ({ length }: Buffer) => {
        passed(length)
        moved()
      })
      one.pipe(other)
      if (one.readableEnded) void this.#linger()
      one.once('end', () => void this.#linger())
      one.once('close', () => {
        if (this.#isEnded) return
        if (one.readableEnded) other.end()
        else other.destroy()
      })
    }
  }

  end(): void {
    this.#isEnded = true
    this.#near.unpipe().resume().end()
    this.#far?.unpipe().destroy()
    void this.#linger()
  }

  async #linger(): Promise<void> {
    await endOnceStalled(this.#near, LINGER_MS, this.#clock)
    this.#far?.destroy()
  }

  readonly #early = (): void => {
    this.#near.destroy()
  }
}

/** Destroys a connection when no data moves towards its client for `ms`, even if the client still sends. */
export async function endOnceStalled(socket: Socket, ms: number, clock: Clock): Promise<void> {
  for (let before = -1; !socket.destroyed; ) {
    const flushed = socket.bytesWritten - socket.writableLength
    if (flushed === before) socket.destroy()
    else await pause(clock, ms)
    before = flushed
  }
}

import type { Socket } from 'node:net'
import { type Clock, pause, type Timer } from '../clock.ts'
import type { Garbage } from './memory.ts'

/** Limit for the bytes that a client may send before LangFlow agrees to the websocket. */
const MAX_EARLY_BYTES = 64 * 1024
/** Time without progress after which a tunnel is closed once either end has closed its side. */
const LINGER_MS = 1_000
/** Close frame of a server with the code 1012, service restart. */
const RESTART = Buffer.from([0x88, 2, 1012 >> 8, 1012 & 255])

/** SSE answers and websockets. They have no natural end, so a handover ends them after a grace. */
export class Streams {
  readonly #clock: Clock
  readonly #graceMs: number
  readonly #noneLeft: () => void
  readonly #ends = new Set<() => void>()
  #timer: Timer | null = null
  #over = false

  /** @param noneLeft called when the last stream is over after `endSoon`, even if all ended by themselves */
  constructor(clock: Clock, graceMs: number, noneLeft: () => void) {
    this.#clock = clock
    this.#graceMs = graceMs
    this.#noneLeft = noneLeft
  }

  /** @param end ends the stream as if it were complete. @returns a function to call when the stream is over. */
  add(end: () => void): () => void {
    this.#ends.add(end)
    // This stream began after all others were ended.
    if (this.#over) queueMicrotask(() => this.#ends.delete(end) && end())
    return () => {
      this.#ends.delete(end)
      this.#look()
    }
  }

  /**
   * Ends each stream after the grace, and any later stream as it begins. `by`: the latest time for that, in monotonic
   * ms.
   */
  endSoon(by: number): void {
    const leftMs = Math.min(this.#graceMs, by - this.#clock.mono())
    this.#timer ??= this.#clock.after(Math.max(0, leftMs), () => this.endNow())
    if (leftMs <= 0) this.endNow()
    else this.#look()
  }

  /** Ends the streams: the grace is over. */
  endNow(): void {
    this.#over = true
    // The hold comes first, so that reconnecting clients wait.
    this.#noneLeft()
    const ends = [...this.#ends]
    this.#ends.clear()
    for (const end of ends) end()
  }

  /** The takeover is over, or was called off. */
  goOn(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#over = false
  }

  #look(): void {
    if (this.#timer !== null && this.#ends.size === 0) this.#noneLeft()
  }
}

/**
 * The connection of a client that asks for a websocket. After LangFlow has agreed, bytes pass unchanged in both
 * directions.
 */
export class Tunnel {
  readonly #near: Socket
  readonly #garbage: Garbage
  readonly #clock: Clock
  readonly #frames = new Frames()
  readonly #early: Buffer[]
  #earlyBytes: number
  #far: Socket | null = null
  /** LangFlow's connection has ended, but the client still receives the outstanding data. */
  #over = false

  /** @param head bytes that came with the request, behind its head */
  constructor(near: Socket, head: Buffer, garbage: Garbage, clock: Clock) {
    this.#near = near
    this.#early = [head]
    this.#earlyBytes = head.length
    this.#garbage = garbage
    this.#clock = clock
    near.on('error', () => {})
    // The front reads the connection, to notice if the client disconnects.
    near.on('data', this.#heard)
  }

  /** @param head bytes that came with LangFlow's answer, behind its head */
  open(far: Socket, head: Buffer): void {
    const near = this.#near
    this.#far = far.on('error', () => {})
    near.off('data', this.#heard).pause().unshift(Buffer.concat(this.#early))
    far.pause().unshift(head)
    near.on('data', ({ length }: Buffer) => this.#garbage.passed(length))
    far.on('data', (chunk: Buffer) => {
      this.#garbage.passed(chunk.length)
      this.#frames.passed(chunk)
    })
    near.pipe(far).pipe(near)
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      if (one.readableEnded) void this.#linger()
      one.once('end', () => void this.#linger())
      one.once('close', () => {
        if (this.#over) return
        if (one.readableEnded) other.end()
        else other.destroy()
      })
    }
  }

  /**
   * LangFlow is about to stop or no longer leads. The front does not wait for LangFlow to close, and the client
   * reconnects.
   */
  restart(): void {
    const [near, far] = [this.#near, this.#far]
    this.#over = true
    near.unpipe()
    far?.unpipe().destroy()
    // A close frame cannot be inserted in the middle of another frame.
    if (near.writable && this.#frames.complete) near.write(RESTART)
    near.resume().end()
    void this.#linger()
  }

  /** One end has closed its side. */
  async #linger(): Promise<void> {
    await endOnceStalled(this.#near, LINGER_MS, this.#clock)
    this.#far?.destroy()
  }

  readonly #heard = (chunk: Buffer): void => {
    this.#early.push(chunk)
    this.#earlyBytes += chunk.length
    if (this.#earlyBytes > MAX_EARLY_BYTES) this.#near.destroy()
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

/** Follows the frames that LangFlow sends (RFC 6455, 5.2), to find the positions between two frames. */
class Frames {
  #head: number[] = []
  #payloadLeft = 0

  get complete(): boolean {
    return this.#head.length === 0 && this.#payloadLeft === 0
  }

  passed(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#payloadLeft > 0) {
        const bytes = Math.min(this.#payloadLeft, chunk.length - at)
        this.#payloadLeft -= bytes
        at += bytes
      } else this.#headByte(chunk[at++] as number)
    }
  }

  #headByte(byte: number): void {
    this.#head.push(byte)
    const [, second] = this.#head
    if (second === undefined) return
    const short = second & 0x7f
    const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0
    const maskBytes = second & 0x80 ? 4 : 0
    if (this.#head.length < 2 + lengthBytes + maskBytes) return
    const length = this.#head.slice(2, 2 + lengthBytes)
    this.#payloadLeft = lengthBytes === 0 ? short : length.reduce((sum, one) => sum * 256 + one, 0)
    this.#head = []
  }
}

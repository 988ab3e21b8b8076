import type { Socket } from 'node:net'
import { type Clock, pause, type Timer } from '../clock.ts'
import type { Garbage } from './memory.ts'

/** What a client may send before it is answered. */
const MAX_EARLY_BYTES = 64 * 1024
/** For how long nothing may move once either end has closed its side of a tunnel. */
const LINGER_MS = 1_000
/** Close frame of a server with the code 1012, service restart. */
const RESTART = Buffer.from([0x88, 2, 1012 >> 8, 1012 & 255])

/** SSE answers and websockets: what has no end of its own is ended, after a grace, when a takeover is planned. */
export class Streams {
  readonly #clock: Clock
  readonly #graceMs: number
  readonly #noneLeft: () => void
  readonly #ends = new Set<() => void>()
  #timer: Timer | null = null
  #over = false

  /** `noneLeft`: once all are to be ended, none goes on; also where that is because all others have ended by themselves. */
  constructor(clock: Clock, graceMs: number, noneLeft: () => void) {
    this.#clock = clock
    this.#graceMs = graceMs
    this.#noneLeft = noneLeft
  }

  /** @param end ends it as if it were complete. @returns what is called once it is over */
  add(end: () => void): () => void {
    this.#ends.add(end)
    // It began after all others were ended.
    if (this.#over) queueMicrotask(() => this.#ends.delete(end) && end())
    return () => {
      this.#ends.delete(end)
      this.#look()
    }
  }

  /** Ends each once the grace has passed, and those that begin later as they begin. `by`: monotonic ms, then at the latest. */
  endSoon(by: number): void {
    const leftMs = Math.min(this.#graceMs, by - this.#clock.mono())
    this.#timer ??= this.#clock.after(Math.max(0, leftMs), () => this.endNow())
    if (leftMs <= 0) this.endNow()
    else this.#look()
  }

  /** The grace is over. */
  endNow(): void {
    this.#over = true
    // First of all, so that whoever connects again waits.
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

/** A client's connection on which it asks for a websocket: bytes go both ways as they are, once LangFlow has agreed. */
export class Tunnel {
  readonly #near: Socket
  readonly #garbage: Garbage
  readonly #clock: Clock
  readonly #frames = new Frames()
  readonly #early: Buffer[]
  #earlyBytes: number
  #far: Socket | null = null
  /** The client still gets what it is owed, although LangFlow's connection has ended. */
  #over = false

  /** @param head bytes that came with the request, behind its head */
  constructor(near: Socket, head: Buffer, garbage: Garbage, clock: Clock) {
    this.#near = near
    this.#early = [head]
    this.#earlyBytes = head.length
    this.#garbage = garbage
    this.#clock = clock
    near.on('error', () => {})
    // A connection that is not read does not show that its client has gone.
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

  /** LangFlow is about to be stopped, or leads no more: its part of the end is not waited for, and the client connects again. */
  restart(): void {
    const [near, far] = [this.#near, this.#far]
    this.#over = true
    near.unpipe()
    far?.unpipe().destroy()
    // In the middle of a frame there is no place for another one.
    if (near.writable && this.#frames.complete) near.write(RESTART)
    near.resume().end()
    void this.#linger()
  }

  /** One end says no more. */
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

/** Destroys a connection once nothing moves towards its client for `ms`, whatever still comes from there. */
export async function endOnceStalled(socket: Socket, ms: number, clock: Clock): Promise<void> {
  for (let before = -1; !socket.destroyed; ) {
    const flushed = socket.bytesWritten - socket.writableLength
    if (flushed === before) socket.destroy()
    else await pause(clock, ms)
    before = flushed
  }
}

/** Follows the frames that LangFlow sends (RFC 6455, 5.2), to find out where another one may be put between them. */
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

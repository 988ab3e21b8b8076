import { createHash, randomBytes } from 'node:crypto'
import type { Wire } from './wire.ts'

// Websocket frames, RFC 6455.

export const TEXT = 1
export const BINARY = 2
export const CLOSE = 8
export const PING = 9
export const PONG = 10
const CONTINUATION = 0

const NAMES: Readonly<Record<number, string>> = {
  [CONTINUATION]: 'continuation',
  [TEXT]: 'text',
  [BINARY]: 'binary',
  [CLOSE]: 'close',
  [PING]: 'ping',
  [PONG]: 'pong',
}

interface Frame {
  readonly opcode: number
  readonly last: boolean
  readonly masked: boolean
  readonly payload: Buffer
}

interface FrameOptions {
  readonly masked: boolean
  /** Of its message. */
  readonly last?: boolean
}

export function frame(
  opcode: number,
  payload: string | Buffer,
  { masked, last = true }: FrameOptions,
): Buffer {
  const data = Buffer.from(payload)
  const length =
    data.length < 126
      ? Buffer.from([data.length])
      : data.length < 65_536
        ? Buffer.from([126, data.length >> 8, data.length & 255])
        : Buffer.concat([Buffer.from([127]), sixtyFourBits(data.length)])
  const start = Buffer.concat([Buffer.from([(last ? 0x80 : 0) | opcode]), length])
  if (!masked) return Buffer.concat([start, data])
  const mask = randomBytes(4)
  start[1] = (start[1] as number) | 0x80
  return Buffer.concat([start, mask, apply(mask, data)])
}

/** The frames of one message. */
export function fragments(opcode: number, parts: readonly string[], masked: boolean): Buffer[] {
  return parts.map((part, i) =>
    frame(i === 0 ? opcode : CONTINUATION, part, { masked, last: i === parts.length - 1 }),
  )
}

export function closing(code: number, reason: string, masked: boolean): Buffer {
  return frame(CLOSE, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]), { masked })
}

async function readFrame(wire: Wire): Promise<Frame> {
  const [first = 0, second = 0] = await wire.bytes(2)
  const masked = (second & 0x80) !== 0
  const short = second & 0x7f
  const length =
    short === 126
      ? (await wire.bytes(2)).readUInt16BE()
      : short === 127
        ? Number((await wire.bytes(8)).readBigUInt64BE())
        : short
  const mask = masked ? await wire.bytes(4) : null
  const payload = await wire.bytes(length)
  return {
    opcode: first & 15,
    last: (first & 0x80) !== 0,
    masked,
    payload: mask ? apply(mask, payload) : Buffer.from(payload),
  }
}

interface Whole {
  readonly opcode: number
  readonly masked: boolean
  readonly payload: Buffer
}

/** A whole message, or a control frame. */
export async function readWhole(wire: Wire): Promise<Whole> {
  const [whole] = await readAll(wire, 1)
  return whole as Whole
}

/** A message and a control frame, which may come in the middle of it. */
export function readTwo(wire: Wire): Promise<Whole[]> {
  return readAll(wire, 2)
}

async function readAll(wire: Wire, count: number): Promise<Whole[]> {
  const all: Whole[] = []
  let parts: Frame[] = []
  while (all.length < count) {
    const one = await readFrame(wire)
    if (one.opcode >= CLOSE) {
      all.push(one)
      continue
    }
    parts.push(one)
    if (!one.last) continue
    const { opcode, masked } = parts[0] as Frame
    all.push({ opcode, masked, payload: Buffer.concat(parts.map(({ payload }) => payload)) })
    parts = []
  }
  return all
}

/** In words. */
export function told({ opcode, payload }: { opcode: number; payload: Buffer }): string {
  if (opcode !== CLOSE) return `${NAMES[opcode]} ${payload.toString('latin1')}`
  const code = payload.length > 1 ? ` ${payload.readUInt16BE()} ${payload.subarray(2)}` : ''
  return `close${code}`
}

export function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
}

function sixtyFourBits(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

function apply(mask: Buffer, data: Buffer): Buffer {
  return Buffer.from(data.map((byte, i) => byte ^ (mask[i & 3] as number)))
}

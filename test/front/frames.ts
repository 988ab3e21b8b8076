import { createHash, randomBytes } from 'node:crypto'
import type { Wire } from './wire.ts'

// Websocket frames, RFC 6455.

export const TEXT = 1
export const BINARY = 2
export const CLOSE = 8

const NAMES: Readonly<Record<number, string>> = {
  [TEXT]: 'text',
  [BINARY]: 'binary',
  [CLOSE]: 'close',
}

interface Frame {
  readonly opcode: number
  readonly masked: boolean
  readonly payload: Buffer
}

export function frame(opcode: number, payload: string | Buffer, { masked }: { masked: boolean }): Buffer {
  const data = Buffer.from(payload)
  const length =
    data.length < 126
      ? Buffer.from([data.length])
      : data.length < 65_536
        ? Buffer.from([126, data.length >> 8, data.length & 255])
        : Buffer.concat([Buffer.from([127]), sixtyFourBits(data.length)])
  const start = Buffer.concat([Buffer.from([0x80 | opcode]), length])
  if (!masked) return Buffer.concat([start, data])
  const mask = randomBytes(4)
  start[1] = (start[1] as number) | 0x80
  return Buffer.concat([start, mask, apply(mask, data)])
}

export function closing(code: number, reason: string, masked: boolean): Buffer {
  return frame(CLOSE, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]), { masked })
}

export async function readWhole(wire: Wire): Promise<Frame> {
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
    masked,
    payload: mask ? apply(mask, payload) : Buffer.from(payload),
  }
}

export function describeFrame({ opcode, payload }: { opcode: number; payload: Buffer }): string {
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

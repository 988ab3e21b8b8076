import { constants, readSync, writeSync } from 'node:fs'
import { withFile } from '../processes/spawn.ts'

const MAGIC = 0x7f454c46
const CLASS_64 = 2
const HEADER_BYTES = 64
const ENTRY_BYTES = 56
const PT_INTERP = 3
const LONGEST = 4096

/** The interpreter in a program's ELF header. `undefined`: a static program or a script. */
export function readInterpreter(file: string): string | undefined {
  return withFile(file, constants.O_RDONLY, (fd) => {
    const place = find(fd)
    if (place === undefined) return undefined
    const text = read(fd, place.offset, place.size).toString()
    return text.slice(0, text.indexOf('\0'))
  })
}

/** Writes another path as the interpreter of a file that no process executes. Throws `RangeError` if it is too long. */
export function writeInterpreter(file: string, path: string): void {
  withFile(file, constants.O_RDWR, (fd) => {
    const { offset, size } = find(fd) ?? { offset: 0, size: 0 }
    if (Buffer.byteLength(path) >= size) throw new RangeError(`no room for ${path} in ${file}`)
    const padded = Buffer.alloc(size)
    padded.write(path)
    writeSync(fd, padded, 0, size, offset)
  })
}

/** The place of the interpreter's path: ELF's program header of type PT_INTERP. All machines of the image are little-endian. */
function find(fd: number): { offset: number; size: number } | undefined {
  const header = read(fd, 0, HEADER_BYTES)
  if (header.length < HEADER_BYTES || header.readUInt32BE(0) !== MAGIC || header[4] !== CLASS_64)
    return undefined
  const [table, entry, count] = [word(header, 32), header.readUInt16LE(54), header.readUInt16LE(56)]
  if (entry < ENTRY_BYTES) return undefined
  const entries = read(fd, table, entry * count)
  for (let at = 0; at + entry <= entries.length; at += entry) {
    if (entries.readUInt32LE(at) !== PT_INTERP) continue
    const size = word(entries, at + 32)
    return size > 1 && size <= LONGEST ? { offset: word(entries, at + 8), size } : undefined
  }
  return undefined
}

function word(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at))
}

function read(fd: number, offset: number, size: number): Buffer {
  const bytes = Buffer.alloc(size)
  return bytes.subarray(0, readSync(fd, bytes, 0, size, offset))
}

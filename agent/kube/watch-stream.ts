import { ApiError, parseStatus, refusal, type Target } from './errors.ts'

/** A Lease is a few KB; a longer line is no event. */
const MAX_LINE_BYTES = 4 * 1024 * 1024
const NEWLINE = 0x0a

/** Cuts a stream of bytes into lines. Bytes are decoded a whole line at a time, so no character is ever split. */
export class LineReader {
  private parts: Buffer[] = []
  private size = 0

  /** The lines that this chunk completes; `null` where the line it belongs to is too long. */
  push(chunk: Buffer): string[] | null {
    const lines: string[] = []
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      if (!this.keep(chunk.subarray(start, end))) return null
      lines.push(Buffer.concat(this.parts).toString())
      this.parts = []
      this.size = 0
      start = end + 1
    }
    return this.keep(chunk.subarray(start)) ? lines : null
  }

  /** Whether the stream ended between two lines. */
  get complete(): boolean {
    return this.size === 0
  }

  private keep(part: Buffer): boolean {
    this.size += part.length
    if (part.length > 0) this.parts.push(part)
    return this.size <= MAX_LINE_BYTES
  }
}

/** What one line of a watch says. */
export type WatchLine =
  | { type: 'changed'; object: Record<string, unknown> }
  | { type: 'deleted' | 'bookmark'; resourceVersion: string | undefined }

/** Reads one line of a watch. An `ERROR` event, and a line that is no event, give the error that ends the watch. */
export function parseWatchLine(line: string, target: Target): WatchLine | ApiError {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return garbled(target)
  }
  if (!isObject(value) || !isObject(value.object)) return garbled(target)
  const { type, object } = value
  if (type === 'ERROR') {
    const status = parseStatus(JSON.stringify(object))
    return status?.code === undefined ? garbled(target) : refusal(target, status.code, status)
  }
  const { metadata } = object
  if (!isObject(metadata)) return garbled(target)
  const resourceVersion = typeof metadata.resourceVersion === 'string' ? metadata.resourceVersion : undefined
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
      return { type: 'changed', object }
    case 'DELETED':
      return { type: 'deleted', resourceVersion }
    case 'BOOKMARK':
      return { type: 'bookmark', resourceVersion }
    default:
      return garbled(target)
  }
}

export function garbled({ server }: Target): ApiError {
  return new ApiError(
    'network',
    `the watch from the API server at ${server} holds something that is no event`,
  )
}

export function cutShort({ server }: Target): ApiError {
  return new ApiError('network', `the watch from the API server at ${server} ended in the middle of an event`)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

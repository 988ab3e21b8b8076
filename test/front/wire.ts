import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** The name with its original case, and the value. */
export type Header = readonly [name: string, value: string]

/** No message here has a longer line before its body. A longer one means that messages were split at the wrong place. */
const LONGEST_LINE = 1024 * 1024
/** Ends a test that hangs; it's no measured limit. */
const HANGS_MS = 60_000

/** One end of a connection, parsed by hand, since an HTTP library would repair or hide faults that tests look for. */
export class Wire {
  readonly socket: Socket
  readonly #pieces: AsyncIterator<Buffer>
  #read: Buffer = Buffer.alloc(0)

  constructor(socket: Socket) {
    this.socket = socket.setNoDelay()
    // A pending read rejects with the error.
    socket.on('error', () => {})
    this.#pieces = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  }

  static async connect(port: number): Promise<Wire> {
    return new Wire(await openSocket(port))
  }

  send(data: string | Buffer): Promise<void> {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data
    return new Promise((resolve) => this.socket.write(bytes, () => resolve()))
  }

  end(): void {
    this.socket.end()
  }

  destroy(): void {
    this.socket.resetAndDestroy()
  }

  /** Reads at most `most` bytes, or `null` at the end of the connection. */
  async piece(most = Number.POSITIVE_INFINITY): Promise<Buffer | null> {
    if (this.#read.length === 0 && !(await this.#more())) return null
    const piece = this.#read.subarray(0, most)
    this.#read = this.#read.subarray(piece.length)
    return piece
  }

  async bytes(length: number): Promise<Buffer> {
    while (this.#read.length < length) if (!(await this.#more())) throw new Error('cut')
    const bytes = this.#read.subarray(0, length)
    this.#read = this.#read.subarray(length)
    return bytes
  }

  /** Reads a line, which must end with CR LF, and returns it without that. `patient` waits without a limit. */
  async line(patient = false): Promise<string> {
    for (;;) {
      const end = this.#read.indexOf('\r\n')
      if (end >= 0) {
        const line = (await this.bytes(end)).toString('latin1')
        await this.bytes(2)
        return line
      }
      if (this.#read.length > LONGEST_LINE) throw new Error('a line without an end')
      if (!(await this.#more(patient))) throw new Error('cut')
    }
  }

  async headers(): Promise<Header[]> {
    const headers: Header[] = []
    for (let line = await this.line(); line !== ''; line = await this.line()) {
      const colon = line.indexOf(':')
      headers.push([line.slice(0, colon), line.slice(colon + 1).trim()])
    }
    return headers
  }

  async request(): Promise<Message> {
    const start = await this.line(true)
    const headers = await this.headers()
    return new Message(this, start, headers, framingOf(headers) ?? { length: 0 })
  }

  /** The final answer, after any 100 Continue. */
  async answer(method = 'GET'): Promise<Message> {
    for (;;) {
      const start = await this.line()
      const status = Number(start.split(' ')[1])
      const headers = await this.headers()
      const empty = method === 'HEAD' || status < 200 || status === 204 || status === 304
      const framing = empty ? { length: 0 } : (framingOf(headers) ?? 'close')
      const message = new Message(this, start, headers, framing)
      if (status >= 200 || status === 101) return message
    }
  }

  async rest(patient = false): Promise<Buffer> {
    const pieces: Buffer[] = []
    while (this.#read.length > 0 || (await this.#more(patient).catch(brokenOff))) {
      pieces.push(this.#read)
      this.#read = Buffer.alloc(0)
    }
    return Buffer.concat(pieces)
  }

  async #more(patient = false): Promise<boolean> {
    const hangs = Promise.withResolvers<never>()
    const give = () => hangs.reject(new Error(`nothing came within ${HANGS_MS / 1000} s`))
    const timer = patient ? undefined : setTimeout(give, HANGS_MS)
    try {
      const { done, value } = await Promise.race([this.#pieces.next(), hangs.promise])
      if (done) return false
      this.#read = this.#read.length === 0 ? value : Buffer.concat([this.#read, value])
      return true
    } finally {
      clearTimeout(timer)
    }
  }
}

export async function openSocket(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  await once(socket, 'connect')
  return socket
}

/** Treats a broken connection as ended, but rethrows the timeout of a silent one. */
function brokenOff(error: NodeJS.ErrnoException): false {
  if (error.code === undefined) throw error
  return false
}

type Framing = 'chunked' | 'close' | { readonly length: number }

function framingOf(headers: readonly Header[]): Framing | undefined {
  if (/(^|,)\s*chunked$/i.test(firstOf(headers, 'transfer-encoding') ?? '')) return 'chunked'
  const length = firstOf(headers, 'content-length')
  return length === undefined ? undefined : { length: Number(length) }
}

export function valuesOf(headers: readonly Header[], name: string): string[] {
  return headers.flatMap(([one, value]) => (one.toLowerCase() === name ? [value] : []))
}

function firstOf(headers: readonly Header[], name: string): string | undefined {
  return valuesOf(headers, name)[0]
}

export class Message {
  readonly start: string
  readonly headers: readonly Header[]
  trailers: readonly Header[] = []
  readonly framing: Framing
  body: Buffer = Buffer.alloc(0)
  readonly #wire: Wire
  #left: number
  #ended = false
  #first = true

  constructor(wire: Wire, start: string, headers: readonly Header[], framing: Framing) {
    this.#wire = wire
    this.start = start
    this.headers = headers
    this.framing = framing
    this.#left = typeof framing === 'object' ? framing.length : 0
  }

  get status(): number {
    return Number(this.start.split(' ')[1])
  }

  get method(): string {
    return this.start.split(' ')[0] ?? ''
  }

  get target(): string {
    return this.start.split(' ')[1] ?? ''
  }

  value(name: string): string | undefined {
    return firstOf(this.headers, name)
  }

  values(name: string): string[] {
    return valuesOf(this.headers, name)
  }

  async read(length: number): Promise<string> {
    const from = this.body.length
    while (this.body.length < from + length) {
      const piece = await this.#piece(from + length - this.body.length)
      if (piece === null) throw new Error('the body ended')
      this.body = Buffer.concat([this.body, piece])
    }
    return this.body.subarray(from).toString('latin1')
  }

  async rest(): Promise<Buffer> {
    const pieces: Buffer[] = [this.body]
    for (let piece = await this.#piece(); piece; piece = await this.#piece()) pieces.push(piece)
    this.body = Buffer.concat(pieces)
    return this.body
  }

  /** Reads a large body to its end, and returns only its length and hash. */
  async digest(): Promise<string> {
    const hash = createHash('sha256')
    let bytes = 0
    for (let piece = await this.#piece(); piece; piece = await this.#piece()) {
      hash.update(piece)
      bytes += piece.length
    }
    return `${bytes} bytes, ${hash.digest('hex')}`
  }

  async #piece(most = Number.POSITIVE_INFINITY): Promise<Buffer | null> {
    if (this.#ended) return null
    if (this.framing === 'close') {
      const piece = await this.#wire.piece(most)
      this.#ended = piece === null
      return piece
    }
    if (this.#left === 0) {
      if (this.framing === 'chunked') await this.#chunk()
      else this.#ended = true
      if (this.#ended) return null
    }
    const piece = await this.#wire.piece(Math.min(most, this.#left))
    if (piece === null) throw new Error('cut')
    this.#left -= piece.length
    return piece
  }

  /** Reads the next chunk's size. The CR LF after the previous chunk may arrive only together with it. */
  async #chunk(): Promise<void> {
    if (!this.#first) assert.equal(`${await this.#wire.bytes(2)}`, '\r\n')
    this.#first = false
    const size = await this.#wire.line()
    if (!/^[0-9a-f]+$/i.test(size)) throw new Error(`a chunk that begins with ${JSON.stringify(size)}`)
    this.#left = Number.parseInt(size, 16)
    if (this.#left > 0) return
    this.trailers = await this.#wire.headers()
    this.#ended = true
  }
}

export function chunk(data: string | Buffer): string {
  return `${Buffer.byteLength(data, 'latin1').toString(16)}\r\n${data.toString('latin1')}\r\n`
}

export function head(...lines: string[]): string {
  return `${lines.join('\r\n')}\r\n\r\n`
}

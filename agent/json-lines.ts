import type { Duplex } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'

/** Splits a stream of bytes into lines of JSON, each of them an object with a `type`. Nothing counts after a fault. */
export class JsonLines {
  private readonly longest: number
  private readonly decoder = new StringDecoder()
  private rest = ''

  /** @param longest length of a line, in characters */
  constructor(longest: number) {
    this.longest = longest
  }

  /** The message in each line that this chunk completes, or the fault of that line, also as soon as it is too long. */
  push(chunk: Buffer): (object | string)[] {
    const lines = (this.rest + this.decoder.write(chunk)).split('\n')
    this.rest = lines.at(-1) as string
    // An incomplete line has no fault but its length.
    if (this.rest.length <= this.longest) lines.pop()
    return lines.map((line) => this.read(line))
  }

  get complete(): boolean {
    return this.rest + this.decoder.end() === ''
  }

  private read(line: string): object | string {
    if (line.length > this.longest) return `a line of more than ${this.longest / 1024} KiB`
    try {
      const message: unknown = JSON.parse(line)
      if (typeof message === 'object' && message !== null && 'type' in message) return message
    } catch {
      // The same fault as for JSON of another kind.
    }
    return 'a line that is not a JSON message'
  }
}

/** Reads the messages of a peer. The first invalid line destroys its stream, and `broken` receives the reason. */
export function readJsonLines<Message>(
  stream: Duplex,
  longest: number,
  received: (message: Message) => void,
  broken: (fault: string) => void = () => {},
): void {
  const lines = new JsonLines(longest)
  stream.on('data', (chunk: Buffer) => {
    for (const line of lines.push(chunk)) {
      if (stream.destroyed) return
      if (typeof line === 'object') received(line as Message)
      else {
        stream.destroy()
        broken(line)
      }
    }
  })
}

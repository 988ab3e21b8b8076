import type { Socket } from 'node:net'
import type { ScriptedTarget, Served } from './scripted-target.ts'
import { type Header, head, type Message, openSocket, valuesOf, Wire } from './wire.ts'

export class Client extends Wire {
  readonly #answers: Message[]

  constructor(socket: Socket, answers: Message[]) {
    super(socket)
    this.#answers = answers
  }

  async begun(method?: string): Promise<Message> {
    const message = await this.answer(method)
    this.#answers.push(message)
    return message
  }

  async answered(method?: string): Promise<Message> {
    const message = await this.begun(method)
    await message.rest()
    return message
  }
}

export class Stage {
  readonly port: number
  readonly target: ScriptedTarget
  readonly requests: Message[] = []
  readonly answers: Message[] = []
  readonly notes: string[] = []
  readonly #clients: Client[] = []

  constructor(port: number, target: ScriptedTarget) {
    this.port = port
    this.target = target
  }

  async connect(): Promise<Client> {
    const client = new Client(await openSocket(this.port), this.answers)
    this.#clients.push(client)
    return client
  }

  async request(): Promise<Served> {
    const served = await this.target.request()
    this.requests.push(served.message)
    return served
  }

  note(text: string): void {
    this.notes.push(text)
  }

  close(): void {
    for (const client of this.#clients) client.destroy()
  }

  /** Requests and answers as both sides received them, without the parts that a proxy may change. */
  transcript() {
    return {
      requests: this.requests.map((message) => ({
        start: withoutVersion(message.start),
        headers: comparable(message.headers, REQUEST_MAY_CHANGE, emptyBody),
        trailers: comparable(message.trailers),
        body: message.body.toString('latin1'),
      })),
      answers: this.answers.map((message) => ({
        start: withoutVersion(message.start),
        headers: comparable(message.headers, [], addedDate),
        trailers: comparable(message.trailers),
        body: message.body.toString('latin1'),
      })),
      notes: this.notes,
    }
  }
}

/** Headers of a single connection, which a proxy must not forward (RFC 9110, 7.6.1), and the framing of the body. */
const OF_ONE_CONNECTION = ['connection', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding']
/** A proxy may answer an expectation itself (RFC 9110, 10.1.1). Separate tests cover the X-Forwarded headers. */
const REQUEST_MAY_CHANGE = ['expect', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto']

/** A proxy adds a date to an answer without one. The targets here send this date or none, so any other was added. */
export const DATE = 'Thu, 01 Jan 2026 00:00:00 GMT'
const addedDate = ([name, value]: Header) => name === 'date' && value !== DATE
/** A proxy may add `Content-Length: 0` to a request without a body. */
const emptyBody = ([name, value]: Header) => name === 'content-length' && value === '0'

/** Headers with lists, whose lines a proxy may join (RFC 9110, 5.3). */
const LISTS = ['link', 'sec-websocket-protocol']

function comparable(
  headers: readonly Header[],
  mayChange: readonly string[] = [],
  maybeAdded: (header: Header) => boolean = () => false,
): string[] {
  const compared = headers
    .map(([name, value]): Header => [name.toLowerCase(), value])
    .filter(([name]) => !OF_ONE_CONNECTION.includes(name) && !mayChange.includes(name))
    .filter((header) => !maybeAdded(header))
  const names = [...new Set(compared.map(([name]) => name))].sort()
  return names.flatMap((name) => {
    const values = valuesOf(compared, name)
    return (LISTS.includes(name) ? [values.join(', ')] : values).map((value) => `${name}: ${value}`)
  })
}

function withoutVersion(start: string): string {
  return start.replace(/ ?HTTP\/1\.[01] ?/, ' ').trim()
}

export function requestHead(start: string, ...headers: string[]): string {
  return head(
    `${start} HTTP/1.1`,
    ...(headers.some((one) => /^host:/i.test(one)) ? [] : ['Host: flows.example']),
    ...headers,
  )
}

export function answerHead(status: string, ...headers: string[]): string {
  return head(`HTTP/1.1 ${status}`, ...headers)
}

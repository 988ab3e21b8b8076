import type { Socket } from 'node:net'
import { Series } from '../harness/wait.ts'
import type { ScriptedTarget, Served } from './scripted-target.ts'
import { type Header, head, type Message, openSocket, valuesOf, Wire } from './wire.ts'

const WITHIN_MS = 5_000

/** A client's connection, whose answers go into the transcript. */
export class Client extends Wire {
  readonly #heard: (message: Message) => void

  constructor(socket: Socket, heard: (message: Message) => void) {
    super(socket)
    this.#heard = heard
  }

  /** The next answer up to its body. */
  async begun(method?: string): Promise<Message> {
    const message = await this.answer(method, this.#heard)
    this.#heard(message)
    return message
  }

  /** The next answer, whole. */
  async answered(method?: string): Promise<Message> {
    const message = await this.begun(method)
    await message.rest()
    return message
  }
}

/** Where an exchange is played: a client on one side, the target on the other, and perhaps fronts between them. */
export class Stage {
  readonly port: number
  readonly target: ScriptedTarget
  readonly requests: Message[] = []
  /** Those that only inform as well. */
  readonly answers = new Series<Message>()
  readonly notes: string[] = []
  readonly #clients: Client[] = []

  constructor(port: number, target: ScriptedTarget) {
    this.port = port
    this.target = target
  }

  async connect(): Promise<Client> {
    const client = new Client(await openSocket(this.port), (message) => this.answers.add(message))
    this.#clients.push(client)
    return client
  }

  /** The next request at the target up to its body. */
  async request(): Promise<Served> {
    const served = await this.target.request()
    this.requests.push(served.message)
    return served
  }

  /** Resolves once a client has an answer with this status. */
  async informed(status: number): Promise<void> {
    await this.answers.next(`${status}`, (message) => message.status === status, 0, WITHIN_MS)
  }

  /** What else must be the same each way. */
  note(text: string): void {
    this.notes.push(text)
  }

  close(): void {
    for (const client of this.#clients) client.destroy()
  }

  /** What both sides saw, without what a proxy may change. */
  transcript() {
    return {
      requests: this.requests.map((message) => ({
        start: withoutVersion(message.start),
        headers: comparable(message.headers, REQUEST_MAY_CHANGE, emptyBody),
        trailers: comparable(message.trailers),
        body: message.body.toString('latin1'),
      })),
      answers: this.answers.list
        .filter(({ status }) => status !== 100)
        .map((message) => ({
          start: withoutVersion(message.start),
          headers: comparable(message.headers, [], addedDate),
          trailers: comparable(message.trailers),
          body: message.body.toString('latin1'),
        })),
      notes: this.notes,
    }
  }
}

/** RFC 9110, 7.6.1: of one connection, and none of the next one's business. The same with how a body is framed. */
const OF_ONE_CONNECTION = ['connection', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding']
/** What a front adds is looked at by itself. It may answer an expectation itself (RFC 9110, 10.1.1). */
const REQUEST_MAY_CHANGE = ['expect', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto']

/** The date that whoever passes an answer on adds to one that has none: the targets here send this one or none at all. */
export const DATE = 'Thu, 01 Jan 2026 00:00:00 GMT'
const addedDate = ([name, value]: Header) => name === 'date' && value !== DATE
/** A request without a body may say so. */
const emptyBody = ([name, value]: Header) => name === 'content-length' && value === '0'

/** Lists, which may stand in one line as well (RFC 9110, 5.3): where anybody joins them. */
const LISTS = ['link', 'sec-websocket-protocol']

/** Sorted by name: the order of different names says nothing, that of the same one does. */
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

/** The version of HTTP is that of one connection. */
function withoutVersion(start: string): string {
  return start.replace(/ ?HTTP\/1\.[01] ?/, ' ').trim()
}

/** The head of a request from a client. */
export function asks(start: string, ...headers: string[]): string {
  return head(
    `${start} HTTP/1.1`,
    ...(headers.some((one) => /^host:/i.test(one)) ? [] : ['Host: flows.example']),
    ...headers,
  )
}

/** The head of an answer. */
export function says(status: string, ...headers: string[]): string {
  return head(`HTTP/1.1 ${status}`, ...headers)
}

import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { Series } from '../harness/wait.ts'
import { type Message, Wire } from './wire.ts'

const WITHIN_MS = 60_000

export class Served {
  readonly wire: Wire
  readonly message: Message
  readonly #answered = Promise.withResolvers<void>()

  constructor(wire: Wire, message: Message) {
    this.wire = wire
    this.message = message
  }

  get answered(): Promise<void> {
    return this.#answered.promise
  }

  async send(data: string | Buffer): Promise<void> {
    await this.wire.send(data)
  }

  /** Marks the answer as complete, so that the target reads the connection's next request. */
  done(): void {
    this.#answered.resolve()
  }

  async answer(data: string | Buffer): Promise<void> {
    await this.send(data)
    this.done()
  }
}

/** Stands in for LangFlow: reads requests from raw sockets, and answers with the bytes that a test gives. */
export class ScriptedTarget {
  readonly port: number
  connections = 0
  readonly #server: Server
  readonly #answer: ((served: Served) => Promise<void>) | undefined
  readonly #sockets = new Set<Socket>()
  readonly #requests: Series<Served>
  #taken = 0

  private constructor(server: Server, answer?: (served: Served) => Promise<void>) {
    this.#server = server
    this.#answer = answer
    this.port = (server.address() as AddressInfo).port
    this.#requests = new Series()
    server.on('connection', (socket: Socket) => {
      this.connections += 1
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
      void this.#serve(new Wire(socket))
    })
  }

  /** `answer` is called for each request; without it, the test answers. */
  static async listen(answer?: (served: Served) => Promise<void>): Promise<ScriptedTarget> {
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new ScriptedTarget(server, answer)
  }

  get served(): readonly Served[] {
    return this.#requests.list
  }

  get waiting(): readonly Served[] {
    return this.#requests.list.slice(this.#taken)
  }

  async request(): Promise<Served> {
    const place = this.#taken
    const served = await this.#requests.next('a request at the target', () => true, place, WITHIN_MS)
    this.#taken = place + 1
    return served
  }

  forget(): void {
    this.#taken = this.#requests.list.length
  }

  async close(): Promise<void> {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await once(this.#server, 'close')
  }

  async #serve(wire: Wire): Promise<void> {
    try {
      for (;;) {
        const served = new Served(wire, await wire.request())
        this.#requests.add(served)
        await this.#answer?.(served)
        await served.answered
      }
    } catch {
      // The connection ended between two requests, or within one, which then can't be answered.
      wire.socket.destroy()
    }
  }
}

import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { formatListen, type Listen } from '../config/values.ts'
import { FatalError } from '../exit.ts'
import type { Place } from './gates.ts'

/** Says who answered. */
export const REPLICA_HEADER = 'x-replica'

/** One port that leads to whoever is ready: what a Service is in a cluster. */
export class FrontDoor {
  readonly #route: () => Place | null
  readonly #server = createServer((incoming, outgoing) => this.#pass(incoming, outgoing))

  /** `route` is asked anew for each request; `null`: nobody is ready. */
  constructor(route: () => Place | null) {
    this.#route = route
  }

  /** Rejects with a `FatalError` where the address cannot be had. */
  async listen(listen: Listen): Promise<void> {
    this.#server.listen({ port: listen.port, ...(listen.host === null ? {} : { host: listen.host }) })
    try {
      await once(this.#server, 'listening')
    } catch (error) {
      throw new FatalError(refusal(listen, error as NodeJS.ErrnoException), { cause: error })
    }
  }

  /** An address of this machine by which it is reached. */
  get host(): string {
    const { address } = this.#server.address() as AddressInfo
    return address === '0.0.0.0' || address === '::' ? '127.0.0.1' : address
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://${formatListen({ host: this.host, port: this.port })}`
  }

  close(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  #pass(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const place = this.#route()
    if (place === null) {
      refuse(outgoing, 503, 'no replica is ready')
      return
    }
    const { connection: _, ...headers } = incoming.headers
    const { method, url } = incoming
    // A connection of its own for each request: an idle one would look like work that a drain has to wait for.
    const onward = request(
      { host: '127.0.0.1', port: place.port, method, path: url, headers, agent: false },
      (answer) => {
        const { connection: _, 'keep-alive': __, ...passed } = answer.headers
        outgoing.writeHead(answer.statusCode ?? 502, { ...passed, [REPLICA_HEADER]: place.name })
        answer.pipe(outgoing)
        answer.on('error', () => outgoing.destroy())
      },
    )
    onward.on('error', (error) => {
      if (outgoing.headersSent) outgoing.destroy()
      else refuse(outgoing, 502, `${place.name}: ${(error as NodeJS.ErrnoException).code ?? error.message}`)
    })
    outgoing.on('close', () => onward.destroy())
    incoming.pipe(onward)
  }
}

function refuse(outgoing: ServerResponse, status: number, text: string): void {
  outgoing.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`)
}

function refusal(listen: Listen, { code, message }: NodeJS.ErrnoException): string {
  const cause =
    code === 'EADDRINUSE'
      ? 'the port is in use'
      : code === 'EACCES'
        ? 'this user may not open that port'
        : (code ?? message)
  return `the front door cannot listen on ${formatListen(listen)} (${cause}): give another --listen, or none for a free port`
}

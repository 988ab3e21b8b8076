import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent } from 'undici'
import type { Clock } from '../clock.ts'
import { formatListen, type Listen } from '../config/values.ts'
import { FatalError } from '../exit.ts'
import { ask, repeat } from './client.ts'

/** Names the replica that answered. */
export const REPLICA_HEADER = 'x-replica'
const EVERY_MS = 50
/** Kubernetes' own default for a probe. */
const TIMEOUT_MS = 1_000

/** Where a replica answers, on 127.0.0.1. */
export interface Place {
  readonly name: string
  /** Its agent's port, for `/readyz`. */
  readonly agentPort: number
  /** Its workload's port. */
  readonly port: number
}

/** One port that leads to the replica that is ready: what the kubelet and a Service are in a cluster. */
export class FrontDoor {
  /** By which it is reached from this machine, once it is open. */
  url = ''
  readonly #places: readonly Place[]
  readonly #clock: Clock
  readonly #server = createServer((incoming, outgoing) => this.#pass(incoming, outgoing))
  readonly #agent = new Agent()
  /** The replicas with an open gate; the one that became ready last is last. */
  readonly #open = new Set<Place>()
  #stops: (() => void)[] = []

  constructor(places: readonly Place[], clock: Clock) {
    this.#places = places
    this.#clock = clock
  }

  /** Listens, and asks each agent for its gate from now on. Rejects with a `FatalError` where the address cannot be had. */
  async open(listen: Listen): Promise<void> {
    this.#server.listen({ port: listen.port, ...(listen.host === null ? {} : { host: listen.host }) })
    try {
      await once(this.#server, 'listening')
    } catch (error) {
      throw new FatalError(refusal(listen, error as NodeJS.ErrnoException), { cause: error })
    }
    const { address, port } = this.#server.address() as AddressInfo
    const host = address === '0.0.0.0' || address === '::' ? '127.0.0.1' : address
    this.url = `http://${formatListen({ host, port })}`
    this.#stops = this.#places.map((place) => repeat(this.#clock, EVERY_MS, () => this.#probe(place)))
  }

  isOpenTo(name: string): boolean {
    return [...this.#open].some((place) => place.name === name)
  }

  close(): void {
    for (const stop of this.#stops) stop()
    void this.#agent.destroy()
    this.#server.close()
    this.#server.closeAllConnections()
  }

  async #probe(place: Place): Promise<void> {
    const url = `http://127.0.0.1:${place.agentPort}/readyz`
    const answer = await ask(this.#clock, url, TIMEOUT_MS, this.#agent).catch(() => null)
    if (answer?.status === 200) this.#open.add(place)
    else this.#open.delete(place)
  }

  #pass(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const place = [...this.#open].at(-1)
    if (place === undefined) {
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
  const causes: Record<string, string> = {
    EADDRINUSE: 'the port is in use',
    EACCES: 'this user may not open that port',
  }
  const cause = causes[code ?? ''] ?? code ?? message
  return `the front door cannot listen on ${formatListen(listen)} (${cause}): give another --listen, or none for a free port`
}

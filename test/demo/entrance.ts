import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream'
import { formatListen, type Listen } from '../../agent/config/values.ts'
import { FatalError } from '../../agent/exit.ts'
import { ask } from '../harness/ask.ts'
import { repeat } from './client.ts'

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
export class Entrance {
  /** By which it is reached from this machine, once it is open. */
  url = ''
  readonly #server = createServer((incoming, outgoing) => this.#pass(incoming, outgoing))
  /** The replicas with an open gate; the one that became ready last is last. */
  readonly #open = new Set<Place>()

  /** Listens, and asks each agent for its gate until `signal` aborts. Rejects with a `FatalError` where the address cannot be had. */
  async open(listen: Listen, places: readonly Place[], signal: AbortSignal): Promise<void> {
    this.#server.listen({ port: listen.port, ...(listen.host === null ? {} : { host: listen.host }) })
    try {
      await once(this.#server, 'listening')
    } catch (error) {
      throw new FatalError(refusal(listen, error as NodeJS.ErrnoException), { cause: error })
    }
    const { address, port } = this.#server.address() as AddressInfo
    const host = address === '0.0.0.0' || address === '::' ? '127.0.0.1' : address
    this.url = `http://${formatListen({ host, port })}`
    for (const place of places) void repeat(EVERY_MS, signal, () => this.#probe(place))
  }

  isOpenTo(name: string): boolean {
    return [...this.#open].some((place) => place.name === name)
  }

  close(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  async #probe(place: Place): Promise<void> {
    const answer = await ask(`http://127.0.0.1:${place.agentPort}/readyz`, TIMEOUT_MS).catch(() => null)
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
    // As in `ask`: a connection of its own for each request.
    const onward = request(
      { host: '127.0.0.1', port: place.port, method, path: url, headers, agent: false },
      (answer) => {
        const { connection: _, 'keep-alive': __, ...passed } = answer.headers
        outgoing.writeHead(answer.statusCode ?? 502, { ...passed, [REPLICA_HEADER]: place.name })
        pipeline(answer, outgoing, () => {})
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

function refusal(listen: Listen, { code = '', message }: NodeJS.ErrnoException): string {
  const causes: Record<string, string> = {
    EADDRINUSE: 'the port is in use',
    EACCES: 'this user may not open that port',
  }
  const cause = causes[code] ?? (code || message)
  return `the entrance cannot listen on ${formatListen(listen)} (${cause}): give another --listen, or none for a free port`
}

import { readFileSync } from 'node:fs'
import { Agent, request } from 'undici'
import { mono } from '../support/stage.ts'
import type { ControlPlane } from './control-plane.ts'

/** One version of a Lease, as the test itself received it. */
export interface Sighting {
  /** Its place in the order of receipt. */
  readonly index: number
  /** CLOCK_MONOTONIC in ms: when the bytes came in. */
  readonly at: number
  /** '' where nobody holds it, or the Lease was deleted. */
  readonly holder: string
  readonly deleted: boolean
  /** leaseTransitions; 0 where it has none. */
  readonly epoch: number
}

/** How long an awaited record may take; no measurement, only the end of a test that hangs. */
const PATIENCE_MS = 90_000
const WATCH_SECONDS = 7_200

interface Waiting {
  look(): boolean
  fail(why: string): void
}

/** A test's own eye on one Lease, with nothing of the product in it; a bench measures both contenders by it. */
export class LeaseWatch {
  readonly sightings: Sighting[] = []
  readonly #dispatcher: Agent
  readonly #waiting = new Set<Waiting>()
  #rest = ''
  #ended: string | undefined

  private constructor(dispatcher: Agent) {
    this.#dispatcher = dispatcher
  }

  /** Resolves once the API server has opened the watch. The Lease need not exist yet. */
  static async open(plane: ControlPlane, namespace: string, name: string): Promise<LeaseWatch> {
    const dispatcher = new Agent({ connect: { ca: readFileSync(plane.caFile) }, bodyTimeout: 0 })
    const watch = new LeaseWatch(dispatcher)
    const query = `watch=true&fieldSelector=metadata.name%3D${name}&timeoutSeconds=${WATCH_SECONDS}`
    const url = `${plane.serverUrl}/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases?${query}`
    const headers = { authorization: `Bearer ${plane.adminToken}` }
    const { statusCode, body } = await request(url, { dispatcher, headers })
    if (statusCode !== 200)
      throw new Error(`the test's watch was answered ${statusCode}: ${await body.text()}`)
    body.setEncoding('utf8')
    body.on('data', (chunk: string) => watch.#receive(mono(), chunk))
    body.once('error', (error) => watch.#end(error.message))
    body.once('end', () => watch.#end('the API server ended it'))
    return watch
  }

  get length(): number {
    return this.sightings.length
  }

  /** The first record from `from` on that matches. Rejects when it does not come within 90 s, or the watch ends. */
  next(what: string, matches: (one: Sighting) => boolean, from: number): Promise<Sighting> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer)
        this.#waiting.delete(waiting)
      }
      const waiting: Waiting = {
        look: () => {
          const found = this.sightings.slice(from).find(matches)
          if (found === undefined) return false
          leave()
          resolve(found)
          return true
        },
        fail: (why) => {
          leave()
          reject(new Error(`${what}: ${why}`))
        },
      }
      const timer = setTimeout(() => waiting.fail(`not seen within ${PATIENCE_MS / 1000} s`), PATIENCE_MS)
      this.#waiting.add(waiting)
      if (!waiting.look() && this.#ended !== undefined) waiting.fail(this.#ended)
    })
  }

  /** The newest record; throws where none has come yet. */
  last(): Sighting {
    const last = this.sightings.at(-1)
    if (last === undefined) throw new Error('the Lease was not seen yet')
    return last
  }

  async close(): Promise<void> {
    this.#end('the test closed it')
    await this.#dispatcher.destroy()
  }

  #receive(at: number, chunk: string): void {
    const lines = (this.#rest + chunk).split('\n')
    this.#rest = lines.pop() as string
    for (const line of lines) {
      const { type, object } = JSON.parse(line) as {
        type: string
        object: { spec?: { holderIdentity?: string; leaseTransitions?: number } }
      }
      if (type !== 'ADDED' && type !== 'MODIFIED' && type !== 'DELETED') {
        this.#end(`it said ${line}`)
        break
      }
      const deleted = type === 'DELETED'
      this.sightings.push({
        index: this.length,
        at,
        deleted,
        holder: deleted ? '' : (object.spec?.holderIdentity ?? ''),
        epoch: object.spec?.leaseTransitions ?? 0,
      })
    }
    for (const one of [...this.#waiting]) one.look()
  }

  #end(why: string): void {
    this.#ended ??= `the test's watch ended: ${why}`
    for (const one of [...this.#waiting]) one.fail(this.#ended)
  }
}

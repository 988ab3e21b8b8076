import { readFileSync } from 'node:fs'
import { Agent, request } from 'undici'
import type { KubeObject } from '../../agent/kube/kube-objects.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import type { SceneServer } from './scene.ts'
import { mono, Series } from './wait.ts'

export interface Sighting {
  readonly index: number
  /** CLOCK_MONOTONIC in ms when the bytes arrived. */
  readonly at: number
  readonly deleted: boolean
  readonly object: KubeObject
  /** '' if the Lease has no holder, or was deleted. */
  readonly holder: string
  /** leaseTransitions, or 0 if the Lease has none. */
  readonly epoch: number
}

type ServerAccess = Pick<SceneServer, 'serverUrl' | 'adminToken' | 'caFile'>

function adminConnections({ caFile }: ServerAccess): Agent {
  const connect = caFile === undefined ? {} : { ca: readFileSync(caFile) }
  return new Agent({ connect, bodyTimeout: 0 })
}

const PATCHED_WITHIN_MS = 30_000
const WATCH_SECONDS = 7_200

export class Watch {
  readonly #dispatcher: Agent
  readonly #seen = new Series<Sighting>()
  #rest = ''

  private constructor(dispatcher: Agent) {
    this.#dispatcher = dispatcher
  }

  /** Resolves once the API server has opened the watch. The Lease needn't exist yet. */
  static async open(plane: ServerAccess, namespace: string, name: string): Promise<Watch> {
    const dispatcher = adminConnections(plane)
    const watch = new Watch(dispatcher)
    const query = `fieldSelector=metadata.name%3D${name}&watch=true&timeoutSeconds=${WATCH_SECONDS}`
    const url = `${plane.serverUrl}${leasesOf(namespace)}?${query}`
    const headers = { authorization: `Bearer ${plane.adminToken}` }
    const { statusCode, body } = await request(url, { dispatcher, headers })
    if (statusCode !== 200)
      throw new Error(`the API server answered the test's watch with ${statusCode}: ${await body.text()}`)
    body.setEncoding('utf8')
    body.on('data', (chunk: string) => watch.#receive(mono(), chunk))
    body.once('error', (error) => watch.#seen.end(`the watch ended: ${error.message}`))
    body.once('end', () => watch.#seen.end('the API server ended the watch'))
    return watch
  }

  get versions(): readonly Sighting[] {
    return this.#seen.list
  }

  get length(): number {
    return this.versions.length
  }

  next(what: string, matches: (one: Sighting) => boolean, from = 0, withinMs?: number): Promise<Sighting> {
    return this.#seen.next(what, matches, from, withinMs)
  }

  last(): Sighting {
    const last = this.versions.at(-1)
    if (last === undefined) throw new Error('the watch has received no version yet')
    return last
  }

  async close(): Promise<void> {
    this.#seen.end('the test closed the watch')
    await this.#dispatcher.destroy()
  }

  #receive(at: number, chunk: string): void {
    const lines = (this.#rest + chunk).split('\n')
    this.#rest = lines.pop() as string
    for (const line of lines) {
      const { type, object } = JSON.parse(line) as { type: string; object: KubeObject }
      if (type !== 'ADDED' && type !== 'MODIFIED' && type !== 'DELETED') {
        this.#seen.end(`the watch reported ${line}`)
        break
      }
      const { spec } = object as Lease
      const deleted = type === 'DELETED'
      const holder = deleted ? '' : (spec?.holderIdentity ?? '')
      const epoch = spec?.leaseTransitions ?? 0
      this.#seen.add({ index: this.length, at, deleted, object, holder, epoch })
    }
  }
}

const leasesOf = (namespace: string) => `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`

export async function patchLease(
  plane: ServerAccess,
  namespace: string,
  name: string,
  patch: object,
): Promise<void> {
  const dispatcher = adminConnections(plane)
  const headers = {
    authorization: `Bearer ${plane.adminToken}`,
    'content-type': 'application/merge-patch+json',
  }
  const { statusCode, body } = await request(`${plane.serverUrl}${leasesOf(namespace)}/${name}`, {
    dispatcher,
    method: 'PATCH',
    headers,
    headersTimeout: PATCHED_WITHIN_MS,
    body: JSON.stringify(patch),
  })
  const answer = await body.text()
  await dispatcher.destroy()
  if (statusCode !== 200)
    throw new Error(`the API server answered the patch of ${name} with ${statusCode}: ${answer}`)
}

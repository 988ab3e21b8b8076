import { readFileSync } from 'node:fs'
import { Agent, request } from 'undici'
import type { KubeObject } from '../../agent/kube/objects.ts'
import { mono } from '../support/stage.ts'
import type { ControlPlane } from './control-plane.ts'

/** One version of an object, as the test itself received it. */
export interface Version {
  /** CLOCK_MONOTONIC in ms: when the bytes came in. */
  readonly at: number
  readonly object: KubeObject
}

/** How long an awaited version may take; no measurement, only the end of a test that hangs. */
const PATIENCE_MS = 60_000

/** A test's own eye on the objects of one collection, by admin. */
export class ObjectWatch {
  /** In the order of the API server. */
  readonly versions: Version[] = []
  private readonly dispatcher: Agent
  private readonly looks = new Set<() => void>()
  private rest = ''

  private constructor(dispatcher: Agent) {
    this.dispatcher = dispatcher
  }

  /** @param collection e.g. `/api/v1/namespaces/default/pods` */
  static async open(plane: ControlPlane, collection: string): Promise<ObjectWatch> {
    const dispatcher = new Agent({ connect: { ca: readFileSync(plane.caFile) }, bodyTimeout: 0 })
    const watch = new ObjectWatch(dispatcher)
    const headers = { authorization: `Bearer ${plane.adminToken}` }
    const url = `${plane.serverUrl}${collection}?watch=true`
    const { statusCode, body } = await request(url, { dispatcher, headers })
    if (statusCode !== 200)
      throw new Error(`the test's watch was answered ${statusCode}: ${await body.text()}`)
    body.setEncoding('utf8')
    body.on('data', (chunk: string) => watch.receive(chunk))
    body.on('error', () => {})
    return watch
  }

  /** The first version since `from` that matches. */
  next(what: string, matches: (object: KubeObject) => boolean, from = 0): Promise<Version> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.looks.delete(look)
        reject(new Error(`${what}: not seen within ${PATIENCE_MS / 1000} s`))
      }, PATIENCE_MS)
      const look = () => {
        const found = this.versions.slice(from).find(({ object }) => matches(object))
        if (found === undefined) return
        clearTimeout(timer)
        this.looks.delete(look)
        resolve(found)
      }
      this.looks.add(look)
      look()
    })
  }

  async close(): Promise<void> {
    await this.dispatcher.destroy()
  }

  private receive(chunk: string): void {
    const at = mono()
    const lines = (this.rest + chunk).split('\n')
    this.rest = lines.pop() as string
    for (const line of lines) {
      const { type, object } = JSON.parse(line) as { type: string; object: KubeObject }
      if (type === 'ADDED' || type === 'MODIFIED') this.versions.push({ at, object })
    }
    for (const look of [...this.looks]) look()
  }
}

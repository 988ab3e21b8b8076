import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import { isDead, isEnding, readStat } from '../../agent/processes/proc.ts'
import { kubeconfigFor, LeaseServer } from './api/api-server.ts'
import { servePods } from './api/pods.ts'
import type { ControlPlane } from './control-plane.ts'
import { TcpProxy } from './faults/tcp-proxy.ts'
import { assertOneActed, type Beat, readBeats } from './judge.ts'
import { Pod } from './pod.ts'
import { Replica, type ReplicaOptions } from './replica.ts'
import { mono, Series } from './wait.ts'
import { patchLease, Watch } from './watch.ts'

export const LEASE = 'langflow-leader-lock'

export interface Linked {
  readonly link: TcpProxy
}

/** `kubeconfig` is only set if it isn't that of the link. */
type Prepared = Partial<ReplicaOptions> & Pick<ReplicaOptions, 'identity' | 'beats'>

/** A directory, the replicas that run in it, and the log that their workloads share. Everything ends with the scene. */
export abstract class Scene {
  readonly dir: string
  readonly log: string
  readonly #ends: (() => Promise<unknown>)[] = []
  protected readonly replicas: Replica[] = []

  protected constructor() {
    this.dir = mkdtempSync(join(tmpdir(), 'scene-'))
    this.log = join(this.dir, 'beats')
  }

  protected abstract readonly apiPort: number

  protected abstract kubeconfigText(port: number): string

  protected async prepare(identity: string, more: Partial<ReplicaOptions>): Promise<Prepared> {
    return { identity, beats: this.log, ...more }
  }

  atEnd(end: () => Promise<unknown>): void {
    this.#ends.push(end)
  }

  /** Starts agent and launcher in one tree (`run`). `before` runs first, on the replica's link. */
  async replica(
    identity: string,
    more: Partial<ReplicaOptions> = {},
    before?: (link: TcpProxy) => unknown,
  ): Promise<Replica & Linked> {
    const { link, ...options } = await this.#linked(identity, more, before)
    const replica = await Replica.start(options)
    this.replicas.push(replica)
    this.atEnd(() => replica.stop())
    return Object.assign(replica, { link })
  }

  async pod(
    identity: string,
    more: Partial<ReplicaOptions> = {},
    before?: (link: TcpProxy) => unknown,
  ): Promise<Pod & Linked> {
    const { link, ...options } = await this.#linked(identity, more, before)
    const pod = await Pod.start(options, options.directory ?? this.path(identity))
    this.atEnd(() => pod.stop())
    return Object.assign(pod, { link })
  }

  async #linked(
    identity: string,
    more: Partial<ReplicaOptions>,
    before?: (link: TcpProxy) => unknown,
  ): Promise<ReplicaOptions & Linked> {
    const link = await TcpProxy.open(this.apiPort)
    this.atEnd(() => link.close())
    await before?.(link)
    const kubeconfig = this.kubeconfig(identity, link.port)
    return { kubeconfig, ...(await this.prepare(identity, more)), link }
  }

  kubeconfig(identity: string, port = this.apiPort): string {
    const file = this.path(`${identity}.kubeconfig`)
    writeFileSync(file, this.kubeconfigText(port))
    return file
  }

  async pair(more: Partial<ReplicaOptions> = {}): Promise<[Replica & Linked, Replica & Linked]> {
    const leader = await this.replica('a', more)
    await leader.event('serving')
    const follower = await this.replica('b', more)
    await follower.event('standby_ready')
    return [leader, follower]
  }

  path(name: string): string {
    return join(this.dir, `${name}-${this.#ends.length}`)
  }

  beats(identity?: string, epoch?: number): Beat[] {
    return readBeats(this.log).filter(
      (beat) =>
        (identity === undefined || beat.replica === identity) &&
        (epoch === undefined || beat.epoch === epoch),
    )
  }

  lastBeat(identity: string, epoch?: number): number {
    return (this.beats(identity, epoch).at(-1) ?? assert.fail(`${identity} never acted`)).mono
  }

  firstBeat(identity: string, epoch?: number): number {
    return (this.beats(identity, epoch)[0] ?? assert.fail(`${identity} never acted`)).mono
  }

  protected async end(): Promise<void> {
    for (const end of this.#ends.reverse()) await end()
  }

  async finish(): Promise<Beat[]> {
    await this.end()
    const beats = this.beats()
    rmSync(this.dir, { recursive: true })
    return beats
  }

  async close(): Promise<void> {
    const beats = await this.finish()
    assertOneActed(beats)
    // A pod's workload reports its pid in a PID namespace that is gone, so only the other replicas' pids count.
    const here = new Set(this.replicas.map(({ name }) => name))
    const pids = new Set(beats.filter(({ replica }) => here.has(replica)).map(({ pid }) => pid))
    for (const pid of pids) assert.ok(!lives(pid), `workload ${pid} still lives`)
  }
}

/** The embedded API server. It also records when a Lease was written, by CLOCK_MONOTONIC in ms. */
class EmbeddedLeaseApi extends LeaseServer {
  readonly writes = new Series<number>()

  protected override commit(...change: Parameters<LeaseServer['commit']>): Lease {
    this.writes.add(mono())
    return super.commit(...change)
  }
}

export class EmbeddedScene extends Scene {
  /** The API server also lists the replicas as pods. */
  readonly api = new EmbeddedLeaseApi(
    systemClock,
    servePods(LEASE, () =>
      this.replicas.map((replica) => ({
        name: replica.name,
        uid: replica.name,
        createdAt: 0,
        runs: !replica.ended,
        ready: !replica.ended,
        agentPort: replica.httpPort,
        port: replica.port,
        delete: () => replica.signal('SIGKILL'),
      })),
    ),
  )

  static async open(t: TestContext): Promise<EmbeddedScene> {
    return await new EmbeddedScene().begin(t)
  }

  protected async begin(t: TestContext): Promise<this> {
    this.api.put({ metadata: { name: LEASE }, spec: {} })
    await this.api.listen()
    this.atEnd(() => this.api.close())
    t.after(() => this.close())
    return this
  }

  protected override get apiPort(): number {
    return Number(new URL(this.api.url).port)
  }

  protected override kubeconfigText(port: number): string {
    return kubeconfigFor(`http://127.0.0.1:${port}`)
  }

  holder(): string {
    return this.api.lease(LEASE)?.spec?.holderIdentity ?? ''
  }
}

/** An API server on 127.0.0.1 that scenes share: the real one, or the embedded one. */
export interface SceneServer {
  readonly serverUrl: string
  readonly adminToken: string
  /** The file of the certificate to trust. `undefined` for plain HTTP. */
  readonly caFile: string | undefined
  newNamespace(): Promise<string>
  deployRights(namespace: string, duration?: string): Promise<string>
}

export type Place<S extends SceneServer = ControlPlane> = readonly [
  plane: S,
  namespace: string,
  rights: string,
  watch: Watch,
]

export class ServerScene<S extends SceneServer> extends Scene {
  readonly plane: S
  readonly namespace: string
  /** The test's watch of the Lease. It ends with the API server. */
  readonly watch: Watch
  tokenFile: string | undefined
  readonly #rights: string

  constructor(...[plane, namespace, rights, watch]: Place<S>) {
    super()
    this.plane = plane
    this.namespace = namespace
    this.watch = watch
    this.#rights = rights
    this.atEnd(() => watch.close())
  }

  static async place<S extends SceneServer>(plane: S, duration?: string): Promise<Place<S>> {
    const namespace = await plane.newNamespace()
    const rights = await plane.deployRights(namespace, duration)
    return [plane, namespace, rights, await Watch.open(plane, namespace, LEASE)]
  }

  protected override get apiPort(): number {
    return Number(new URL(this.plane.serverUrl).port)
  }

  protected override prepare(identity: string, more: Partial<ReplicaOptions>): Promise<Prepared> {
    return super.prepare(identity, { namespace: this.namespace, flags: [], ...more })
  }

  protected override kubeconfigText(port: number): string {
    const config = JSON.parse(readFileSync(this.#rights, 'utf8'))
    config.clusters[0].cluster.server = `${new URL(this.plane.serverUrl).protocol}//127.0.0.1:${port}`
    if (this.tokenFile !== undefined) config.users[0].user = { tokenFile: this.tokenFile }
    return JSON.stringify(config)
  }

  patch(spec: object): Promise<void> {
    return patchLease(this.plane, this.namespace, LEASE, { spec })
  }

  annotate(annotations: Readonly<Record<string, string>>): Promise<void> {
    return patchLease(this.plane, this.namespace, LEASE, { metadata: { annotations } })
  }

  kubectl(this: ServerScene<ControlPlane>, ...args: string[]): Promise<{ stdout: string }> {
    return this.plane.kubectl([`--namespace=${this.namespace}`, ...args])
  }

  async apply(this: ServerScene<ControlPlane>, ...manifests: object[]): Promise<void> {
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: manifests })
    await this.plane.kubectl(['apply', '--validate=strict', `--namespace=${this.namespace}`, '-f', '-'], list)
  }
}

export class ApiServerScene extends ServerScene<ControlPlane> {
  /** With `t`, the scene ends with the test. */
  static async open<S extends ApiServerScene>(
    this: new (
      ...place: Place
    ) => S,
    plane: ControlPlane,
    t?: TestContext,
  ): Promise<S> {
    const scene = new this(...(await ServerScene.place(plane)))
    t?.after(() => scene.close())
    return scene
  }
}

/** Writes the Lease as another holder would, with these annotations. A `holderIdentity` of '' releases it. */
export async function writeLease(
  plane: ControlPlane,
  namespace: string,
  holderIdentity: string,
  leaseDurationSeconds: number,
  notes: Readonly<Record<string, string>> = {},
): Promise<void> {
  const now = new Date().toISOString().replace('Z', '000Z')
  const spec = { holderIdentity, leaseDurationSeconds, acquireTime: now, renewTime: now, leaseTransitions: 9 }
  const annotations = { 'langflow-leader/released': holderIdentity === '' ? 'another 9' : null, ...notes }
  const patch = JSON.stringify({ metadata: { annotations }, spec })
  await plane.kubectl(['patch', 'lease', LEASE, `--namespace=${namespace}`, '--type=merge', '-p', patch])
}

/**
 * Whether the process still executes or could execute. A zombie can't, and neither can one whose last thread is ending:
 * the kernel may need 70 ms to free its memory.
 */
export function lives(pid: number): boolean {
  const stat = readStat(pid)
  return stat !== undefined && !isDead(stat) && !isEnding(stat)
}

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { AgentStatus } from '../../agent/observe/status.ts'
import type { ControlPlane } from '../e2e/control-plane.ts'
import { deployRights } from '../e2e/deploy-rights.ts'
import { LeaseWatch, type Sighting } from '../e2e/lease-watch.ts'
import { assertOneActed, type Beat, lateBeats, overlapMs, readBeats } from '../support/beats.ts'
import { linkedKubeconfig } from '../support/linked-kubeconfig.ts'
import { Pod, podObstacle } from '../support/pod.ts'
import { Replica, type ReplicaOptions } from '../support/replica.ts'
import { LEASE, mono } from '../support/stage.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'
import { record } from './record.ts'
import { type CaseName, type FaultCase, TABLE } from './table.ts'

/** Until the kill deadline, at least, right after a renewal: it comes 14 s after one, and one comes every 2 s. */
const JUST_RENEWED_MS = 12_500

/** A pod, and the link between it and the API server. */
export type Linked<T> = T & { readonly link: TcpProxy }

/** Replicas on a real API server, in a namespace of their own, with the rights of deploy/ and no more. */
export class Scene {
  readonly plane: ControlPlane
  readonly namespace: string
  /** What the API server tells of the Lease; ends with that server. */
  readonly watch: LeaseWatch
  readonly dir: string
  /** From which agents started from now on read their token; otherwise it stands in their kubeconfigs. */
  tokenFile: string | undefined
  readonly #rights: string
  readonly #beats: string
  readonly #ended: (() => Promise<unknown>)[] = []

  private constructor(plane: ControlPlane, namespace: string, rights: string, watch: LeaseWatch) {
    this.plane = plane
    this.namespace = namespace
    this.watch = watch
    this.dir = mkdtempSync(join(tmpdir(), 'fault-table-'))
    this.#rights = rights
    this.#beats = join(this.dir, 'beats')
  }

  static async open(plane: ControlPlane): Promise<Scene> {
    const namespace = await plane.newNamespace()
    const rights = await deployRights(plane, namespace)
    return new Scene(plane, namespace, rights, await LeaseWatch.open(plane, namespace, LEASE))
  }

  /** Agent and LangFlow container, as in a pod, over a link that is prepared first, with the product's default timings. */
  async pod(
    identity: string,
    more: Partial<ReplicaOptions> = {},
    prepare: (link: TcpProxy) => Promise<void> = async () => {},
  ): Promise<Linked<Pod>> {
    const { link, options } = await this.#options(identity, more)
    await prepare(link)
    const pod = await Pod.start(options, join(this.dir, `${identity}-${this.#ended.length}`))
    this.#ended.push(() => pod.stop())
    return Object.assign(pod, { link })
  }

  /** Agent and launcher in one tree (`run`). */
  async replica(identity: string, more: Partial<ReplicaOptions> = {}): Promise<Linked<Replica>> {
    const { link, options } = await this.#options(identity, more)
    const replica = await Replica.start(options)
    this.#ended.push(() => replica.stop())
    return Object.assign(replica, { link })
  }

  /** A serving leader and a follower that is ready to take over. */
  async pair(more: Partial<ReplicaOptions> = {}): Promise<[leader: Linked<Pod>, follower: Linked<Pod>]> {
    const a = await this.pod('a', more)
    await a.agent.event('serving')
    return [a, await this.follower('b')]
  }

  /** One that has seen the leader renew: it does not count from its own start. */
  async follower(identity: string, more: Partial<ReplicaOptions> = {}): Promise<Linked<Pod>> {
    const pod = await this.pod(identity, more)
    await pod.agent.event('standby_ready')
    await this.watch.next('a renewal', () => true, this.watch.length)
    return pod
  }

  /** The leader's next renewal, once the leader knows that it succeeded. */
  async renewal(leader: Pod): Promise<Sighting> {
    const renewal = await this.watch.next('a renewal', () => true, this.watch.length)
    await until('the renewal is acknowledged', async () => {
      const { leadership } = JSON.parse((await leader.get('/status')).text) as AgentStatus
      return leadership.killInMs !== null && leadership.killInMs > JUST_RENEWED_MS
    })
    return renewal
  }

  async #options(identity: string, more: Partial<ReplicaOptions>) {
    const link = await TcpProxy.open(Number(new URL(this.plane.serverUrl).port))
    this.#ended.push(() => link.close())
    const file = join(this.dir, `${identity}-${this.#ended.length}.kubeconfig`)
    const { namespace, tokenFile } = this
    const user = tokenFile === undefined ? undefined : { tokenFile }
    const kubeconfig = linkedKubeconfig(this.#rights, link.port, file, user)
    const options = {
      identity,
      kubeconfig,
      namespace,
      beats: this.#beats,
      flags: [],
      ...more,
    }
    return { link, options }
  }

  kubectl(...args: string[]): Promise<{ stdout: string }> {
    return this.plane.kubectl([`--namespace=${this.namespace}`, ...args])
  }

  patch(spec: object): Promise<unknown> {
    return this.kubectl('patch', 'lease', LEASE, '--type=merge', '-p', JSON.stringify({ spec }))
  }

  /** What the workloads of one identity wrote, in their order. */
  beats(identity: string, epoch?: number): Beat[] {
    return readBeats(this.#beats).filter(
      (beat) => beat.replica === identity && (epoch === undefined || beat.epoch === epoch),
    )
  }

  /** Monotonic ms of the last sign of life so far. */
  lastBeat(identity: string, epoch?: number): number {
    return (this.beats(identity, epoch).at(-1) ?? assert.fail(`${identity} never acted`)).mono
  }

  firstBeat(identity: string, epoch?: number): number {
    return (this.beats(identity, epoch)[0] ?? assert.fail(`${identity} never acted`)).mono
  }

  /** Ends everything, and returns what all workloads wrote. */
  async finish(): Promise<Beat[]> {
    for (const end of this.#ended.reverse()) await end()
    await this.watch.close()
    const beats = readBeats(this.#beats)
    rmSync(this.dir, { recursive: true })
    return beats
  }
}

/**
 * One row of the fault table as a test. `run` plays it and returns what was measured, in a few words; that no two
 * workloads acted at once is judged here, from what they wrote themselves.
 */
export function faultTest(
  name: CaseName,
  plane: () => ControlPlane,
  run: (scene: Scene, t: TestContext) => Promise<string>,
): void {
  test(`${TABLE[name].fault}: ${name}`, async (t) => {
    const obstacle = podObstacle()
    if (obstacle !== undefined) {
      t.skip(obstacle)
      return
    }
    const scene = await Scene.open(plane())
    let beats: Beat[]
    let measured: string
    try {
      measured = await run(scene, t)
    } finally {
      beats = await scene.finish()
    }
    const late = lateBeats(beats)
    record({
      name,
      measured,
      overlapMs: overlapMs(beats),
      late: late.length,
      lateMs: (late.at(-1)?.mono ?? 0) - (late[0]?.mono ?? 0),
      beats: beats.length,
    })
    const { wakesUp = false }: FaultCase = TABLE[name]
    if (!wakesUp) assertOneActed(beats)
  })
}

/** Monotonic ms at which the launcher's confirmation was read that nothing of its first workload lives. */
export async function confirmedDead(pod: Pod): Promise<number> {
  await pod.container.event('workload_stopped')
  return mono()
}

/** "1.23 s" */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`
}

/** A line of a log without what differs from run to run. */
export function plain(text: string): string {
  return text
    .replaceAll(/https:\/\/127\.0\.0\.1:\d+/g, 'https://…')
    .replaceAll(/\/tmp\/\S*\//g, '…/')
    .replaceAll(/test-[0-9a-f]{8}/g, 'team')
}

import assert from 'node:assert/strict'
import { after, type TestContext, test } from 'node:test'
import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from '../harness/control-plane.ts'
import { assertOneActed, type Beat, lateBeats, overlapMs } from '../harness/judge.ts'
import { type Pod, podObstacle } from '../harness/pod.ts'
import type { ReplicaOptions } from '../harness/replica.ts'
import { type Linked, type SceneServer, ServerScene } from '../harness/scene.ts'
import { mono, until } from '../harness/wait.ts'
import type { Sighting } from '../harness/watch.ts'
import { record } from './document.ts'
import { EmbeddedPlane } from './embedded-plane.ts'
import { CASES, type CaseName } from './table.ts'

/** `npm test` plays the quick scenes on the embedded API server, with short timings; otherwise all have the defaults. */
const embedded = process.env.FAULT_TABLE_API === 'embedded'
const SHORT = ['--lease-duration=5s', '--renew-deadline=3s', '--retry-period=400ms', '--kill-margin=600ms']

/** What the timings promise, in ms from the send of the last acknowledged renewal: nothing executes from here on. */
export const DOUBT_MS = embedded ? 3_000 : 10_000
/** Nothing lives from here on, and the confirmation of that has been read: the kill deadline, and what both take. */
export const DEAD_MS = embedded ? 6_400 : 14_300
/** Another may lead. */
export const LEASE_MS = embedded ? 5_000 : 15_000
/** Until a timer has fired and a beat that was under way is written. `npm test` measures nothing: other tests run beside it. */
export const SLACK_MS = embedded ? 1_000 : 150
/** An API server that is away for so long leaves the leader in doubt, and alive. */
export const OUTAGE_MS = embedded ? 3_000 : 12_000
/** Until the kill deadline, at least, right after a renewal. */
const JUST_RENEWED_MS = embedded ? 4_050 : 12_500

/** What every scene needs of its API server. */
export type FaultPlane = SceneServer & Pick<ControlPlane, 'pause' | 'resume' | 'close'>

/** A pod, and the link between it and the API server. */
export type LinkedPod = Pod & Linked

/** How the Lease changed hands, in ms. */
interface Handover {
  /** Between the last sign of life and the release. */
  readonly early: number
  /** Monotonic. */
  readonly released: number
  /** From the release to the next holder. */
  readonly took: number
  /** When that one's workload began, monotonic. */
  readonly acted: number
}

/** Pods on a real API server, or on either one. */
export class FaultScene<S extends FaultPlane = ControlPlane> extends ServerScene<S> {
  protected override prepare(identity: string, more: Partial<ReplicaOptions>) {
    const flags = [...(embedded ? SHORT : []), ...(more.flags ?? [])]
    return super.prepare(identity, { ...more, flags })
  }

  /** A serving leader, and a follower that is ready to take over. */
  async pods(more: Partial<ReplicaOptions> = {}): Promise<[leader: LinkedPod, follower: LinkedPod]> {
    return [await this.leader('a', more), await this.follower('b')]
  }

  async leader(identity: string, more: Partial<ReplicaOptions> = {}): Promise<LinkedPod> {
    const pod = await this.pod(identity, more)
    await pod.agent.event('serving')
    return pod
  }

  /** One that has seen the leader renew: it does not count from its own start. */
  async follower(identity: string, more: Partial<ReplicaOptions> = {}): Promise<LinkedPod> {
    const pod = await this.pod(identity, more)
    await pod.agent.event('standby_ready')
    await this.nextRecord()
    return pod
  }

  /** The next version of the Lease, or the one after so many more. */
  nextRecord(more = 0): Promise<Sighting> {
    return this.watch.next('a renewal', () => true, this.watch.length + more)
  }

  /** The leader's next renewal, once the leader knows that it succeeded. */
  async renewal(leader: Pod): Promise<Sighting> {
    const renewal = await this.nextRecord()
    await until('the renewal is acknowledged', async () => {
      const { leadership } = await leader.status()
      return leadership.killInMs !== null && leadership.killInMs > JUST_RENEWED_MS
    })
    return renewal
  }

  released(from = 1): Promise<Sighting> {
    return this.watch.next('the release', ({ holder }) => holder === '', from)
  }

  /** A term ends in order: nothing of it acts after the release, and the next holder serves. */
  async handedOver(from: LinkedPod, to: LinkedPod, since = 1): Promise<Handover> {
    const released = await this.released(since)
    const taken = await this.takenBy(to.options.identity, released.index)
    await to.agent.find('its service', ({ event, epoch }) => event === 'serving' && epoch === taken.epoch)
    const acted = this.firstBeat(to.options.identity, taken.epoch)
    const early = released.at - this.lastBeat(from.options.identity)
    assert.ok(early > 0, `released ${-early} ms before the last sign of life`)
    return { early, released: released.at, took: taken.at - released.at, acted }
  }

  takenBy(identity: string, from = 0): Promise<Sighting> {
    return this.watch.next('the next holder', ({ holder }) => holder === identity, from)
  }

  /** The version before: of a Lease that was taken, its last holder's last renewal. */
  recordBefore({ index }: Sighting): Sighting {
    return this.watch.versions[index - 1] ?? assert.fail('nothing was seen before')
  }

  /** The same process went on in the same term, without a doubt, and nobody took over. */
  assertUndisturbed(leader: Pod, ...others: readonly Pod[]): void {
    assert.ok(!leader.agent.events().includes('doubt') && !leader.agent.events().includes('lost'))
    for (const { agent } of others) assert.ok(!agent.events().includes('acquired'))
    assert.equal(this.processes(leader.options.identity).size, 1)
    assert.equal(this.watch.last().epoch, 1)
  }

  /** The pids of all processes that have acted in the name of one identity. */
  processes(identity: string): ReadonlySet<number> {
    return new Set(this.beats(identity).map(({ pid }) => pid))
  }
}

/**
 * Cases as tests, on an API server of their own: `quickFault` also in `npm test`, on the embedded one. `run` plays a case and
 * returns what was measured, in a few words. The overlap of workloads is judged here, from their own log.
 */
export function faultTests(options: ControlPlaneOptions = {}) {
  let plane: Promise<ControlPlane | EmbeddedPlane> | undefined
  const started = () => {
    plane ??= embedded ? EmbeddedPlane.start() : startControlPlane(options)
    return plane
  }
  after(async () => (await plane)?.close())
  const skip = podObstacle() ?? false
  const play = <S extends FaultPlane>(
    name: CaseName,
    run: (scene: FaultScene<S>, t: TestContext) => Promise<string>,
  ) => {
    const { fault, wakesUp = false } = CASES.find((one) => one.name === name) ?? assert.fail(name)
    test(`${fault}: ${name}`, { skip }, async (t) => {
      const place = await ServerScene.place((await started()) as unknown as S)
      const scene = new FaultScene<S>(...place)
      let beats: Beat[]
      let measured: string
      try {
        measured = await run(scene, t)
      } finally {
        beats = await scene.finish()
      }
      const late = lateBeats(beats)
      const lateMs = (late.at(-1)?.mono ?? 0) - (late[0]?.mono ?? 0)
      const judged = { overlapMs: overlapMs(beats), late: late.length, lateMs, beats: beats.length }
      record({ name, measured, ...judged })
      if (!wakesUp) assertOneActed(beats)
    })
  }
  return {
    fault: (name: CaseName, run: (scene: FaultScene, t: TestContext) => Promise<string>) => {
      if (!embedded) play<ControlPlane>(name, run)
    },
    quickFault: (name: CaseName, run: (scene: FaultScene<FaultPlane>, t: TestContext) => Promise<string>) =>
      play<FaultPlane>(name, run),
  }
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

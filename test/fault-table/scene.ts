import assert from 'node:assert/strict'
import { after, type TestContext, test } from 'node:test'
import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from '../harness/control-plane.ts'
import type { Fault, Heal, Target } from '../harness/faults/catalogue.ts'
import { assertOneActed, type Beat, lateBeats, overlapMs } from '../harness/judge.ts'
import { type Pod, podObstacle } from '../harness/pod.ts'
import type { ReplicaOptions } from '../harness/replica.ts'
import { type Linked, type SceneServer, ServerScene } from '../harness/scene.ts'
import { mono, until } from '../harness/wait.ts'
import type { Sighting } from '../harness/watch.ts'
import { record } from './document.ts'
import { EmbeddedPlane } from './embedded-plane.ts'
import { CASES, type CaseName } from './table.ts'

/**
 * `npm test` plays the quick cases on the embedded API server, with short timings. It judges the order of events and the
 * workloads' log, but no durations, because other tests keep the machine busy. Otherwise, all cases have the default timings.
 */
const embedded = process.env.FAULT_TABLE_API === 'embedded'
/** An agent or a launcher may be late by 2 s without a second LangFlow that acts. */
const SHORT = ['--lease-duration=6s', '--renew-deadline=3s', '--retry-period=400ms', '--kill-margin=2s']
/** Short, but a doubt lasts for 15 s. */
export const LONG_DOUBT = embedded ? ['--lease-duration=20s', ...SHORT.slice(1)] : []
const ANY_MS = 60_000

/** Times that the timings guarantee, in ms from the send of the last acknowledged renewal. From this one on, nothing executes. */
export const DOUBT_MS = embedded ? 3_000 : 10_000
/** From here on nothing lives, and the confirmation has been read: the kill deadline, and the time for killing and reading. */
export const DEAD_MS = embedded ? ANY_MS : 14_500
/** From here on, another replica may lead. The embedded one is shorter, since the test may read a renewal late. */
export const LEASE_MS = embedded ? 4_000 : 15_000
/** Time for a timer to fire and for a beat in progress to be written. */
export const SLACK_MS = embedded ? ANY_MS : 300
/** A retry period: rule 11. A prepared candidate needs some 100 ms, which the table shows. */
export const TAKING_MS = embedded ? ANY_MS : 2_000
/** Time from an event of the watch to the death of LangFlow. */
export const AT_ONCE_MS = embedded ? ANY_MS : 250
/** Longer than the drain timeout. */
export const RUN_MS = embedded ? 7_000 : 25_000
export const EDITS = embedded ? 1 : 3
export const OUTAGE_MS = embedded ? 3_000 : 12_000
const JUST_RENEWED_MS = embedded ? 3_650 : 12_500

export type FaultPlane = SceneServer & Pick<ControlPlane, 'pause' | 'resume' | 'close'>

export type LinkedPod = Pod & Linked

interface Handover {
  /** From the last sign of life to the release. */
  readonly early: number
  /** When the Lease was released, monotonic. */
  readonly released: number
  /** From the release to the next holder. */
  readonly took: number
  /** When the next holder's workload began, monotonic. */
  readonly acted: number
}

/** Pods on a real or an embedded API server. */
export class FaultScene<S extends FaultPlane = ControlPlane> extends ServerScene<S> {
  /** Flags of all replicas. Empty: the default timings. */
  timings: readonly string[] = embedded ? SHORT : []

  protected override prepare(identity: string, more: Partial<ReplicaOptions>) {
    const flags = [...this.timings, ...(more.flags ?? [])]
    return super.prepare(identity, { ...more, flags })
  }

  async pods(more: Partial<ReplicaOptions> = {}): Promise<[leader: LinkedPod, follower: LinkedPod]> {
    return [await this.leader('a', more), await this.follower('b')]
  }

  async leader(identity: string, more: Partial<ReplicaOptions> = {}): Promise<LinkedPod> {
    const pod = await this.pod(identity, more)
    await pod.agent.event('serving')
    return pod
  }

  /** Starts a follower that has seen a renewal: without one, it would count the lease duration from its own start. */
  async follower(identity: string, more: Partial<ReplicaOptions> = {}): Promise<LinkedPod> {
    const pod = await this.pod(identity, more)
    await pod.agent.event('standby_ready')
    await this.nextRecord()
    return pod
  }

  async hit(fault: Fault, pod?: LinkedPod, degree = 0): Promise<Heal> {
    return await fault({ scene: this, pod, link: pod?.link, degree } as unknown as Target)
  }

  /** The next version of the Lease, or with `more`, a later one. */
  nextRecord(more = 0): Promise<Sighting> {
    return this.watch.next('a renewal', () => true, this.watch.length + more)
  }

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

  async handedOver(from: LinkedPod, to: LinkedPod, since = 1): Promise<Handover> {
    const released = await this.released(since)
    const taken = await this.takenBy(to.options.identity, released.index)
    await to.agent.find(
      'serving in the new term',
      ({ event, epoch }) => event === 'serving' && epoch === taken.epoch,
    )
    const acted = this.firstBeat(to.options.identity, taken.epoch)
    const early = released.at - this.lastBeat(from.options.identity)
    assert.ok(early > 0, `the Lease was released ${-early} ms before the last sign of life`)
    return { early, released: released.at, took: taken.at - released.at, acted }
  }

  takenBy(identity: string, from = 0): Promise<Sighting> {
    return this.watch.next('the next holder', ({ holder }) => holder === identity, from)
  }

  recordBefore({ index }: Sighting): Sighting {
    return this.watch.versions[index - 1] ?? assert.fail('no earlier version was received')
  }

  assertUndisturbed(leader: Pod, ...others: readonly Pod[]): void {
    assert.ok(!leader.agent.events().includes('doubt') && !leader.agent.events().includes('lost'))
    for (const { agent } of others) assert.ok(!agent.events().includes('acquired'))
    assert.equal(this.processes(leader.options.identity).size, 1)
    assert.equal(this.watch.last().epoch, 1)
  }

  processes(identity: string): ReadonlySet<number> {
    return new Set(this.beats(identity).map(({ pid }) => pid))
  }
}

/**
 * Registers cases as tests, on one API server. `npm test` plays only `quickFault` cases, on the embedded one. `run` plays a case
 * and returns its measurements in a few words. The overlap of workloads is judged here, from their own log.
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
    const { fault, must, wakesUp = false } = CASES.find((one) => one.name === name) ?? assert.fail(name)
    test(`${fault}: ${name}: ${must}`, { skip }, async (t) => {
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

/** Monotonic ms at which the test read the launcher's confirmation that no process of its first workload lives. */
export async function confirmedDead(pod: Pod): Promise<number> {
  await pod.container.event('workload_stopped')
  return mono()
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`
}

/** Compares two times, in ms. */
export function atMost(ms: number, limit: number): void {
  assert.ok(ms <= limit, `${ms} ms, more than ${limit}`)
}

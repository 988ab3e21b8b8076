import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { LeaseSpec } from '../../agent/lease/lease.ts'
import { isDead, readStat } from '../../agent/processes/proc.ts'
import { type EmbeddedLeaseApi, startEmbeddedLeaseApi } from '../harness/api/embedded-lease-api.ts'
import { assertOneActed, readBeats } from './beats.ts'
import type { Pod } from './pod.ts'
import { Replica, type ReplicaOptions } from './replica.ts'

export const LEASE = 'langflow-leader-lock'

/** Replicas against the embedded API, all gone when the test ends; whatever was done to them, two never acted. */
export class Stage {
  readonly api: EmbeddedLeaseApi
  readonly dir: string
  readonly beats: string
  readonly replicas: Replica[] = []
  readonly pods: Pod[] = []

  private constructor(api: EmbeddedLeaseApi) {
    this.api = api
    this.dir = mkdtempSync(join(tmpdir(), 'stage-'))
    this.beats = join(this.dir, 'beats')
  }

  static async open(t: TestContext): Promise<Stage> {
    const stage = new Stage(
      await startEmbeddedLeaseApi({
        leases: [{ metadata: { name: LEASE, namespace: 'default' }, spec: {} }],
      }),
    )
    t.after(() => stage.close())
    return stage
  }

  async replica(identity: string, more: Partial<ReplicaOptions> = {}): Promise<Replica> {
    const kubeconfig = this.kubeconfig(identity)
    const replica = await Replica.start({ identity, kubeconfig, beats: this.beats, ...more })
    this.replicas.push(replica)
    return replica
  }

  /** By which the API tells this client from others. */
  kubeconfig(client: string): string {
    const file = join(this.dir, `${client}.kubeconfig`)
    writeFileSync(file, this.api.kubeconfig(client))
    return file
  }

  /** A serving leader and a follower that is ready to take over. */
  async pair(more: Partial<ReplicaOptions> = {}): Promise<[leader: Replica, follower: Replica]> {
    const leader = await this.replica('a', more)
    await leader.event('serving')
    const follower = await this.replica('b', more)
    await follower.event('standby_ready')
    return [leader, follower]
  }

  /** Writes the Lease as somebody with `kubectl edit` does. */
  edit(spec: LeaseSpec): void {
    const lease = this.api.lease(LEASE)
    assert.ok(lease)
    this.api.put({ ...lease, spec: { ...lease.spec, ...spec } })
  }

  holder(): string {
    return this.api.lease(LEASE)?.spec?.holderIdentity ?? ''
  }

  beatsOf(identity: string) {
    return readBeats(this.beats).filter(({ replica }) => replica === identity)
  }

  assertNoOverlap(): void {
    assertOneActed(readBeats(this.beats))
  }

  private async close(): Promise<void> {
    this.api.faults.clear()
    await Promise.all([...this.replicas, ...this.pods].map((one) => one.stop()))
    await this.api.close()
    const beats = readBeats(this.beats)
    rmSync(this.dir, { recursive: true })
    assertOneActed(beats)
    // A pod's workload knows only its pid in a namespace that is gone.
    const here = new Set(this.replicas.map(({ name }) => name))
    const pids = new Set(beats.filter(({ replica }) => here.has(replica)).map(({ pid }) => pid))
    for (const pid of pids) assert.ok(!lives(pid), `workload ${pid} lives on`)
  }
}

/** Whether anything of a process still executes or could; a zombie does not. */
export function lives(pid: number): boolean {
  const stat = readStat(pid)
  return stat !== undefined && !isDead(stat)
}

/** CLOCK_MONOTONIC in ms, comparable with what workloads write. */
export function mono(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

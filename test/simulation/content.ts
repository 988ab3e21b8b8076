import { holderOf, successorOf } from '../../agent/lease/lease.ts'
import { pauseOf } from '../../agent/lease/operator-annotations.ts'
import type { ContentView, Digests } from '../../agent/link/link-messages.ts'
import type { Commit } from './api-server.ts'
import type { FaultKind } from './faults/kinds.ts'
import type { Process } from './process.ts'
import type { Replica } from './replica.ts'
import { Violation } from './violation.ts'
import type { Workload } from './workload.ts'
import type { World } from './world.ts'

/** What a launcher of the model sees of its replica's files, which have a version instead of a text. */
export class ModelContent {
  private readonly replica: Replica
  private readonly process: Process
  private readonly changed: () => void
  private view: ContentView
  found: Digests | null = null

  constructor(replica: Replica, process: Process, changed: () => void) {
    const none = { running: null, startedAt: 0, earlier: [], problem: null, unfit: false }
    this.replica = replica
    this.process = process
    this.changed = changed
    this.view = { ...none, digest: `v${replica.files}`, since: process.mono() }
  }

  look(): void {
    const digest = `v${this.replica.files}`
    const { view, process } = this
    if (digest === view.digest) this.become(view)
    else
      this.become({ ...view, digest, since: process.mono(), earlier: [view.digest ?? '', ...view.earlier] })
  }

  started(): void {
    this.become({ ...this.view, running: this.view.digest, startedAt: this.process.mono() })
  }

  ended(): void {
    this.become({ ...this.view, running: null, startedAt: 0 })
  }

  close(): void {}

  private become(view: ContentView): void {
    const before = JSON.stringify(this.found)
    this.view = view
    this.found = { flows: null, secretKey: null, content: this.view }
    if (JSON.stringify(this.found) !== before) this.changed()
  }
}

/** After these times, a leader has read a pause, and a release that began before its files changed is over. */
const PAUSE_READ_MS = 15_000
const RELEASED_MS = 20_000

/** These faults name any replica. */
const NAMING: readonly FaultKind[] = ['replica evicted', 'switchover requested', 'failover requested']

/** Judges successors and planned restarts by the versions of the files. */
export class Contents {
  private readonly world: World
  private pausedSince = Number.POSITIVE_INFINITY

  constructor(world: World) {
    this.world = world
  }

  committed({ writer, after }: Commit): void {
    const { now } = this.world.timeline
    this.pausedSince = pauseOf(after, 0) === null ? Number.POSITIVE_INFINITY : Math.min(this.pausedSince, now)
    if (after === null || holderOf(after) !== '') return
    if (this.world.plan.some(({ kind }) => NAMING.includes(kind))) return
    const of = (name: string | null) => this.world.replicas.find(({ instance }) => instance === name)
    const [leader, successor] = [of(writer), of(successorOf(after))]
    if (leader === undefined || successor === undefined || successor.files >= leader.files) return
    if (now - leader.filesChangedAt > RELEASED_MS)
      throw new Violation('content', `${leader.instance} names ${successor.instance}, which has older files`)
  }

  restarted({ instance }: Replica, { terminated }: Workload): void {
    if (terminated?.healthy && terminated.at > this.pausedSince + PAUSE_READ_MS)
      throw new Violation('pause', `${instance} restarts a healthy workload while takeovers are paused`)
  }
}

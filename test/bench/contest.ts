import { execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Beat } from '../harness/judge.ts'
import { type Line, LoggedProcess } from '../harness/logged-process.ts'
import { Replica } from '../harness/replica.ts'
import type { Fact } from '../harness/report.ts'
import { ApiServerScene } from '../harness/scene.ts'
import { type Sighting, Watch } from '../harness/watch.ts'
import type { Testbed } from './testbed.ts'

/** The names of the events that a candidate logs in each state. */
type EventNames = Readonly<Record<'ready' | 'leads' | 'acquired' | 'released', readonly string[]>>

/** One side of the comparison. */
export interface Side {
  readonly name: string
  readonly events: EventNames
  /** Makes a namespace, and opens an arena in it. */
  openArena(): Promise<Arena>
}

interface Arena {
  readonly namespace: string
  readonly watch: Watch
  start(identity: string): Promise<LoggedProcess>
  /** Ends all candidates in it, the latest first. */
  close(): Promise<unknown>
}

/** `run` from the bundle, with the stand-in workload and the rights of deploy/langflow.yaml. */
export function ourSide(testbed: Testbed) {
  return {
    name: 'langflow-leader',
    events: {
      ready: ['serving', 'standby_ready'],
      leads: ['serving'],
      acquired: ['acquired'],
      released: ['released'],
    },
    /** The beats of the workloads, for each Lease. */
    beats: [] as Beat[][],
    async openArena() {
      const scene = await ApiServerScene.open(testbed.plane)
      return {
        namespace: scene.namespace,
        watch: scene.watch,
        start: (identity: string) => scene.replica(identity, testbed.direct(scene, identity)),
        close: async () => this.beats.push(await scene.finish()),
      }
    },
  }
}

const SOURCE = join(import.meta.dirname, '../../../shared/peer-clientgo')
const PEER_LEASE = 'peer'

/** Builds client-go's elector with the same timings (15 s, 10 s, 2 s) and a release on SIGTERM. Rejects if the build fails. */
export async function buildPeer(testbed: Testbed): Promise<Side & { readonly fact: Fact }> {
  if (!existsSync(SOURCE)) throw new Error('the source of the peer (`../shared/peer-clientgo`) is missing')
  if (spawnSync('go', ['version']).status !== 0) throw new Error('Go is not installed')
  const directory = mkdtempSync(join(tmpdir(), 'peer-'))
  process.once('exit', () => rmSync(directory, { recursive: true }))
  const program = join(directory, 'peer')
  await promisify(execFile)('go', ['build', '-o', program, '.'], { cwd: SOURCE })
  const version = /k8s\.io\/client-go (\S+)/.exec(readFileSync(join(SOURCE, 'go.mod'), 'utf8'))?.[1]
  const go = spawnSync('go', ['env', 'GOVERSION'], { encoding: 'utf8' }).stdout.trim()
  const { plane } = testbed
  return {
    name: 'client-go',
    fact: ['client-go', `${version}, built with ${go}`],
    events: {
      ready: ['new_leader'],
      leads: ['started_leading'],
      acquired: ['started_leading'],
      released: ['stopped_leading'],
    },
    async openArena() {
      const namespace = await plane.newNamespace()
      const here = `--namespace=${namespace}`
      const verbs = ['--verb=get,create,update', '--resource=leases.coordination.k8s.io']
      await plane.kubectl(['create', 'role', 'peer', ...verbs, here])
      const group = `--group=system:serviceaccounts:${namespace}`
      await plane.kubectl(['create', 'rolebinding', 'peer', '--role=peer', group, here])
      const watch = await Watch.open(plane, namespace, PEER_LEASE)
      const all: LoggedProcess[] = []
      return {
        namespace,
        watch,
        async start(identity) {
          // Each candidate has its own account, so that the audit log tells them apart.
          await plane.kubectl(['create', 'serviceaccount', identity, here])
          const kubeconfig = await plane.serviceAccountKubeconfig(namespace, identity, '1h')
          const flags = [`--kubeconfig=${kubeconfig}`, `--lease=${PEER_LEASE}`, `--id=${identity}`]
          const one = new LoggedProcess(identity, [program, here, ...flags, '--release=true'], {}, () => true)
          all.push(one)
          return one
        },
        async close() {
          for (const one of all.reverse()) await one.stop()
          await watch.close()
        },
      }
    },
  }
}

/** The candidates of one side on one Lease. */
export class Contest {
  readonly arena: Arena
  readonly #events: EventNames
  readonly #candidates = new Map<string, LoggedProcess>()
  #started = 0

  private constructor(side: Side, arena: Arena) {
    this.#events = side.events
    this.arena = arena
  }

  /** Calls `play` once one candidate leads and the others stand by. */
  static async play<R>(
    testbed: Testbed,
    side: Side,
    candidates: number,
    play: (contest: Contest) => Promise<R>,
  ): Promise<R> {
    const contest = new Contest(side, await side.openArena())
    return testbed.using(
      () => contest.arena.close(),
      async () => {
        await contest.#add('leads')
        for (let n = 1; n < candidates; n++) await contest.#add('ready')
        return play(contest)
      },
    )
  }

  /** Starts one more candidate under a new name, as a new pod has. */
  async #add(until: keyof EventNames): Promise<void> {
    this.#started += 1
    const candidate = await this.arena.start(`candidate-${this.#started}`)
    this.#candidates.set(candidate.name, candidate)
    await this.loggedAt(candidate, until)
  }

  /** Resolves to the time at which the candidate logged the event: ms of the wall clock, from its own log. */
  async loggedAt(candidate: LoggedProcess, what: keyof EventNames): Promise<number> {
    const is = ({ event }: Line) => event !== undefined && this.#events[what].includes(event)
    const { ts, time } = await candidate.find(what, is)
    return ts === undefined ? Date.parse(time) : Number(ts) / 1e6
  }

  /** Throws if no candidate has that name. */
  candidate(identity: string): LoggedProcess {
    const candidate = this.#candidates.get(identity)
    if (candidate === undefined) throw new Error(`no candidate has the name '${identity}'`)
    return candidate
  }

  /** The holder of the Lease, by the newest record. */
  leader(): LoggedProcess {
    return this.candidate(this.arena.watch.last().holder)
  }

  followers(): LoggedProcess[] {
    return [...this.#candidates.values()].filter((one) => one !== this.leader())
  }

  /** Resolves to the next holder's record, once that candidate leads and a new candidate stands by in place of the old one. */
  async succeeded(old: LoggedProcess, from: number): Promise<{ taken: Sighting; next: LoggedProcess }> {
    const isTaken = ({ holder }: Sighting) => holder !== '' && holder !== old.name
    const taken = await this.arena.watch.next('the next holder', isTaken, from)
    const next = this.candidate(taken.holder)
    await this.loggedAt(next, 'leads')
    await old.exited
    this.#candidates.delete(old.name)
    await this.#add('ready')
    return { taken, next }
  }
}

/** Sends SIGKILL to each of the candidate's processes. */
export function killWhole(one: LoggedProcess): void {
  const more = one instanceof Replica ? [one.launcherPid(), one.workloadPid()] : []
  for (const pid of [one.pid, ...more]) process.kill(pid, 'SIGKILL')
}

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

/** What a candidate says of itself, by any of these events. */
type Words = Readonly<Record<'ready' | 'leads' | 'acquired' | 'released', readonly string[]>>

/** One contestant of the comparison. */
export interface Side {
  readonly name: string
  readonly words: Words
  /** Makes a namespace, and resolves to what is in it. */
  enter(): Promise<Ground>
}

interface Ground {
  readonly namespace: string
  readonly watch: Watch
  start(identity: string): Promise<LoggedProcess>
  /** Ends whatever runs there, the latest first. */
  close(): Promise<unknown>
}

/** `run` from the bundle, with the stand-in workload and the rights of deploy/base. */
export function ourSide(testbed: Testbed) {
  return {
    name: 'langflow-leader',
    words: {
      ready: ['serving', 'standby_ready'],
      leads: ['serving'],
      acquired: ['acquired'],
      released: ['released'],
    },
    /** What the workloads wrote, of each Lease. */
    beats: [] as Beat[][],
    async enter() {
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

/** Builds client-go's elector alone, which releases when it is told to end; 15 s, 10 s, 2 s as well. Rejects where that cannot be. */
export async function buildPeer(testbed: Testbed): Promise<Side & { readonly fact: Fact }> {
  if (!existsSync(SOURCE)) throw new Error('the peer’s source (`../shared/peer-clientgo`) is not there')
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
    words: {
      ready: ['new_leader'],
      leads: ['started_leading'],
      acquired: ['started_leading'],
      released: ['stopped_leading'],
    },
    async enter() {
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
          // An account each, by which the audit log tells them apart.
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

/** Candidates of one side on one Lease, and the bench's eye on it. */
export class Contest {
  readonly ground: Ground
  readonly #words: Words
  readonly #candidates = new Map<string, LoggedProcess>()
  #started = 0

  private constructor(side: Side, ground: Ground) {
    this.#words = side.words
    this.ground = ground
  }

  /** Plays once one candidate leads and the others stand by. */
  static async play<R>(
    testbed: Testbed,
    side: Side,
    candidates: number,
    play: (contest: Contest) => Promise<R>,
  ): Promise<R> {
    const contest = new Contest(side, await side.enter())
    return testbed.using(
      () => contest.ground.close(),
      async () => {
        await contest.#add('leads')
        for (let n = 1; n < candidates; n++) await contest.#add('ready')
        return play(contest)
      },
    )
  }

  /** Starts one more, under a name of its own, as a new pod has. */
  async #add(until: keyof Words): Promise<void> {
    this.#started += 1
    const candidate = await this.ground.start(`candidate-${this.#started}`)
    this.#candidates.set(candidate.name, candidate)
    await this.said(candidate, until)
  }

  /** Resolves to when it said so: ms of the wall clock, by its own log. */
  async said(candidate: LoggedProcess, what: keyof Words): Promise<number> {
    const is = ({ event }: Line) => event !== undefined && this.#words[what].includes(event)
    const { ts, time } = await candidate.find(what, is)
    return ts === undefined ? Date.parse(time) : Number(ts) / 1e6
  }

  /** Throws where there is none of that name. */
  candidate(identity: string): LoggedProcess {
    const candidate = this.#candidates.get(identity)
    if (candidate === undefined) throw new Error(`no candidate is called '${identity}'`)
    return candidate
  }

  /** Who holds the Lease, by the newest record. */
  leader(): LoggedProcess {
    return this.candidate(this.ground.watch.last().holder)
  }

  followers(): LoggedProcess[] {
    return [...this.#candidates.values()].filter((one) => one !== this.leader())
  }

  /** Resolves to the next holder's record, once that one leads and another candidate stands in the place of the old one. */
  async succeeded(old: LoggedProcess, from: number): Promise<{ taken: Sighting; next: LoggedProcess }> {
    const isTaken = ({ holder }: Sighting) => holder !== '' && holder !== old.name
    const taken = await this.ground.watch.next('the next holder', isTaken, from)
    const next = this.candidate(taken.holder)
    await this.said(next, 'leads')
    await old.exited
    this.#candidates.delete(old.name)
    await this.#add('ready')
    return { taken, next }
  }
}

/** SIGKILL to each of its processes. */
export function killWhole(one: LoggedProcess): void {
  const more = one instanceof Replica ? [one.launcherPid(), one.workloadPid()] : []
  for (const pid of [one.pid, ...more]) process.kill(pid, 'SIGKILL')
}

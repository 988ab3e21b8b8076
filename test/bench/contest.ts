import type { LoggedProcess } from '../harness/logged-process.ts'
import { type Sighting, type Watch, watchLease } from '../harness/watch.ts'
import { end, type Testbed } from './testbed.ts'

/** One process that competes for a Lease: the product's, or the peer's. */
export interface Candidate {
  readonly identity: string
  readonly process: LoggedProcess
  /** Resolves once it leads, its workload serving, or stands by. */
  ready(): Promise<void>
  /** Resolves once it leads, its workload serving. */
  leads(): Promise<void>
  /** When it gave the Lease up, in ms of the wall clock, by its own log. */
  released(): Promise<number>
  /** When it got the Lease, likewise. */
  acquired(): Promise<number>
  /** SIGKILL to each of its processes. */
  kill(): void
}

/** One contestant of the comparison. */
export interface Side {
  readonly name: string
  readonly lease: string
  /** Prepares a namespace, and returns what starts candidates there. */
  enter(namespace: string): Promise<(identity: string) => Promise<Candidate>>
}

/** Candidates of one side on one Lease, in a namespace of their own, and the bench's eye on it. */
export class Contest {
  readonly side: Side
  readonly namespace: string
  readonly watch: Watch<Sighting>
  readonly #start: (identity: string) => Promise<Candidate>
  readonly #candidates = new Map<string, Candidate>()
  #started = 0

  private constructor(
    side: Side,
    namespace: string,
    watch: Watch<Sighting>,
    start: (identity: string) => Promise<Candidate>,
  ) {
    this.side = side
    this.namespace = namespace
    this.watch = watch
    this.#start = start
  }

  /** Resolves once one candidate leads and the others stand by. */
  static async open(testbed: Testbed, side: Side, candidates: number): Promise<Contest> {
    const namespace = await testbed.plane.newNamespace()
    const start = await side.enter(namespace)
    const watch = await watchLease(testbed.plane, namespace, side.lease)
    const contest = new Contest(side, namespace, watch, start)
    try {
      await (await contest.add()).leads()
      for (let n = 1; n < candidates; n++) await (await contest.add()).ready()
    } catch (error) {
      await contest.close()
      throw error
    }
    return contest
  }

  /** Starts one more, under a name of its own, as a new pod has. */
  async add(): Promise<Candidate> {
    this.#started += 1
    const candidate = await this.#start(`candidate-${this.#started}`)
    this.#candidates.set(candidate.identity, candidate)
    return candidate
  }

  /** Throws where there is none of that name. */
  candidate(identity: string): Candidate {
    const candidate = this.#candidates.get(identity)
    if (candidate === undefined) throw new Error(`no candidate is called '${identity}'`)
    return candidate
  }

  /** Who holds the Lease, by the newest record. */
  leader(): Candidate {
    return this.candidate(this.watch.last().holder)
  }

  followers(): Candidate[] {
    const leader = this.leader()
    return [...this.#candidates.values()].filter((one) => one !== leader)
  }

  /** Waits for the end of one that was told to, or was killed, and starts another in its place. */
  async replace(gone: Candidate): Promise<void> {
    await gone.process.exited
    this.#candidates.delete(gone.identity)
    await (await this.add()).ready()
  }

  async close(): Promise<void> {
    // Followers first: nobody takes over what ends anyway.
    const leader = this.#candidates.get(this.watch.versions.at(-1)?.holder ?? '')
    const others = [...this.#candidates.values()].filter((one) => one !== leader)
    await Promise.all(others.map(({ process }) => end(process)))
    if (leader !== undefined) await end(leader.process)
    await this.watch.close()
  }
}

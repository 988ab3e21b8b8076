import { setTimeout as sleep } from 'node:timers/promises'
import { mono } from '../support/stage.ts'
import type { Term } from '../support/terms.ts'
import { BeatLog } from './beat-log.ts'
import { Ground } from './ground.ts'
import { Judge, type Poll, Violation } from './judge.ts'
import { leaseTaken } from './lease-taken.ts'
import { type Memory, measureMemory } from './memory.ts'
import { pollReadiness } from './readiness.ts'
import { type Recovery, recover } from './recovery.ts'
import { planFaults } from './schedule.ts'
import { Strikes } from './strikes.ts'

const MINUTE_MS = 60_000
/** After so much planned time everything may heal, and one must serve. */
const ROUND_MS = 150_000
/** Kept at the end for the last faults to heal; of a short run no more than a quarter. */
const TAIL_MS = 45_000
const LOOK_MS = 200
/** The beats of so long ago have been read, however late a busy machine writes them. */
const KNOWN_MS = 1_000
const FIRST_SERVER_MS = 60_000
const PROGRESS_MS = 30_000

export interface ChaosOptions {
  readonly minutes: number
  readonly seed: number
  readonly main: string
  readonly say: (sentence: string) => void
  /** Ends the run early, with what it has found so far. */
  readonly signal: AbortSignal
}

export interface Outcome {
  readonly seed: number
  readonly minutes: number
  /** The program that ran. */
  readonly main: string
  readonly ranMs: number
  readonly interrupted: boolean
  readonly kubernetes: string
  readonly violation: Violation | null
  /** Where everything was kept; `null`: no violation. */
  readonly evidence: string | null
  readonly judge: Judge
  readonly strikes: Strikes
  /** Why each term could begin, as its agent says. */
  readonly reasons: ReadonlyMap<Term, string>
  readonly recoveries: readonly Recovery[]
  readonly pods: number
  readonly restarts: number
  readonly probeKills: number
  readonly memory: { readonly begin: Memory; readonly end: Memory }
}

/** One run: five pods, faults, and a judge that looks on. Resolves with what it came to, a violation included. */
export async function playChaos(options: ChaosOptions): Promise<Outcome> {
  const { minutes, seed, main } = options
  const ground = await Ground.open({ minutes, seed, main })
  const run = new Run(ground, options)
  let kept = false
  try {
    const outcome = await run.play()
    kept = outcome.violation !== null
    return outcome
  } finally {
    await ground.close(kept)
  }
}

class Run {
  readonly #ground: Ground
  readonly #options: ChaosOptions
  readonly #log: BeatLog
  readonly #judge: Judge
  readonly #strikes: Strikes
  readonly #began = mono()
  /** Aborted at the first violation, at an interruption, and at the end. */
  readonly #over = new AbortController()
  readonly #ready = new Map<string, Poll>()
  readonly #recoveries: Recovery[] = []
  readonly #reasons = new Map<Term, string>()
  #failure: unknown
  #saidAt = mono()

  constructor(ground: Ground, options: ChaosOptions) {
    this.#ground = ground
    this.#options = options
    this.#log = new BeatLog(ground.beats)
    this.#judge = new Judge({
      stillSince: (replica, at) => ground.stillness.since(replica, at),
      leaseTaken: (term, next, stillSince) =>
        leaseTaken({ term, next, because: this.#because(next), stillSince }, this.#strikes.list),
      epochForgotten: (replica, epoch, since) => this.#epochForgotten(replica, epoch, since),
    })
    this.#strikes = new Strikes({
      ground,
      leader: () => this.#judge.terms.list.at(-1)?.replica,
      say: (sentence) => this.#say(sentence),
      broken: (error) => this.#fail(error),
    })
    options.signal.addEventListener('abort', () => this.#over.abort(), { once: true })
    if (options.signal.aborted) this.#over.abort()
  }

  async play(): Promise<Outcome> {
    const { seats } = this.#ground
    const { minutes } = this.#options
    const watching = Promise.all([
      this.#watch(),
      ...seats.map((seat) =>
        pollReadiness(seat, this.#ground.asker, (poll) => this.#polled(poll), this.#over.signal),
      ),
    ])
    let begin: Memory = { agents: [], launchers: [] }
    const kubernetes = await this.#ground.version()
    try {
      await this.#firstServer()
      begin = measureMemory(seats)
      await this.#rounds(this.#began + minutes * MINUTE_MS)
    } catch (error) {
      this.#fail(error)
    }
    const end = measureMemory(seats)
    this.#over.abort()
    await watching
    this.#log.close()
    const failure = this.#failure
    if (failure !== undefined && !(failure instanceof Violation)) throw failure
    const sum = (of: (seat: (typeof seats)[number]) => number) =>
      seats.reduce((all, seat) => all + of(seat), 0)
    return {
      seed: this.#options.seed,
      minutes,
      main: this.#options.main,
      ranMs: mono() - this.#began,
      interrupted: this.#options.signal.aborted,
      kubernetes,
      violation: failure ?? null,
      evidence: failure === undefined ? null : this.#ground.dir,
      judge: this.#judge,
      strikes: this.#strikes,
      reasons: this.#reasons,
      recoveries: this.#recoveries,
      pods: sum(({ generations }) => generations),
      restarts: sum(({ restarts }) => restarts),
      probeKills: sum(({ probeKills }) => probeKills),
      memory: { begin, end },
    }
  }

  async #firstServer(): Promise<void> {
    const until = mono() + FIRST_SERVER_MS
    while (this.#readyNow().length === 0 && !this.#over.signal.aborted) {
      if (mono() > until) this.#judge.notRecovered('nobody served within 60 s of the start, before any fault')
      await this.#pause(LOOK_MS)
    }
  }

  async #rounds(ends: number): Promise<void> {
    const left = ends - mono()
    const tail = Math.min(TAIL_MS, left / 4)
    const plan = planFaults(this.#options.seed, left)
    let origin = mono()
    let roundEnds = ROUND_MS
    for (const fault of plan) {
      if (origin + fault.at > ends - tail) break
      if (fault.at > roundEnds) {
        origin += await this.#rest()
        roundEnds += ROUND_MS
      }
      await this.#pause(origin + fault.at - mono())
      if (this.#over.signal.aborted) return
      await this.#strikes.strike(fault, this.#over.signal)
    }
    await this.#rest()
  }

  /** Everything heals, and exactly one serves again. Returns how long that took, in milliseconds. */
  async #rest(): Promise<number> {
    const began = mono()
    await this.#strikes.allHealed()
    if (this.#over.signal.aborted) return 0
    const recovery = await recover(
      this.#ground.seats,
      this.#ground.asker,
      () => this.#readyNow(),
      this.#over.signal,
    )
    if (this.#over.signal.aborted) return 0
    this.#recoveries.push(recovery)
    this.#judge.counts.recoveries += 1
    if (recovery.failed !== undefined) this.#judge.notRecovered(recovery.failed)
    this.#say(`all faults have healed; one served ${(recovery.ms / 1000).toFixed(1)} s later`)
    return mono() - began
  }

  /** Reads on in the workloads' log, and has it judged. */
  async #watch(): Promise<void> {
    while (!this.#over.signal.aborted) {
      this.#look()
      if (mono() - this.#saidAt > PROGRESS_MS) this.#say(`${this.#judge.terms.list.length} terms so far`)
      await this.#pause(LOOK_MS)
    }
    // What was written up to the end may be what breaks a rule.
    this.#look()
    this.#judge.finish(mono())
  }

  #look(): void {
    const now = mono()
    try {
      for (const beat of this.#log.read()) this.#judge.beat(beat)
      this.#judge.settle(now - KNOWN_MS)
      this.#learnReasons()
    } catch (error) {
      this.#failure ??= error
      this.#over.abort()
    }
  }

  #polled(poll: Poll): void {
    this.#ready.set(poll.replica, poll)
    this.#judge.poll(poll)
  }

  #readyNow(): string[] {
    return this.#ground.seats
      .map(({ identity }) => identity)
      .filter((identity) => this.#ready.get(identity)?.ready)
  }

  /** How each new term came about, in the words of its agent, while that still has them. */
  #learnReasons(): void {
    for (const term of this.#judge.terms.list.slice(this.#reasons.size)) {
      this.#reasons.set(term, this.#because(term) ?? 'unknown')
    }
  }

  #because({ replica, epoch }: Term): string | undefined {
    const lines = this.#ground.seatOf(replica)?.pod.agent.lines ?? []
    const acquired = lines.findLast((line) => line.event === 'acquired' && line.epoch === epoch)
    return acquired?.reason?.replace(/^\S+-\d+ did/, 'its holder did')
  }

  #epochForgotten(replica: string, epoch: number, since: number): boolean {
    if (this.#ground.leaseDeletedAt < since) return false
    const lines = this.#ground.seatOf(replica)?.pod.agent.lines ?? []
    const known = lines.slice(
      0,
      lines.findLastIndex(({ event }) => event === 'acquired'),
    )
    return known.every((line) => (line.epoch ?? 0) < epoch)
  }

  #fail(error: unknown): void {
    // What ends with the run may fail: it says nothing.
    if (this.#over.signal.aborted) return
    this.#failure = error
    this.#over.abort()
  }

  #say(sentence: string): void {
    this.#saidAt = mono()
    this.#options.say(`${((mono() - this.#began) / 1000).toFixed(1).padStart(7)} s  ${sentence}`)
  }

  async #pause(ms: number): Promise<void> {
    await sleep(Math.max(0, ms), undefined, { signal: this.#over.signal }).catch(() => {})
  }
}

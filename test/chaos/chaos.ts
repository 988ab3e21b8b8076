import { setTimeout as sleep } from 'node:timers/promises'
import { BeatLog, type Term } from '../harness/judge.ts'
import { ask } from '../harness/replica.ts'
import { mono } from '../harness/wait.ts'
import { type Memory, measureMemory } from './container.ts'
import { FaultInjector } from './injector.ts'
import { Judge, leaseTaken, type Poll, Violation } from './judge.ts'
import { type Recovery, recover } from './recovery.ts'
import { ChaosScene } from './scene.ts'
import { planFaults } from './schedule.ts'
import type { Slot } from './slot.ts'

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
/** Each agent is asked whether it is ready. */
const POLL = { everyMs: 250, withinMs: 2_000 }

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
  readonly injector: FaultInjector
  readonly recoveries: readonly Recovery[]
  readonly pods: number
  readonly restarts: number
  readonly probeKills: number
  readonly memory: { readonly begin: Memory; readonly end: Memory }
}

/** One run: five pods, faults, and a judge that looks on. Resolves with what it came to, a violation included. */
export async function playChaos(options: ChaosOptions): Promise<Outcome> {
  const { minutes, seed, main } = options
  const scene = await ChaosScene.start({ minutes, seed, main })
  const run = new Run(scene, options)
  let kept = false
  try {
    const outcome = await run.play()
    kept = outcome.violation !== null
    return outcome
  } finally {
    await scene.close(kept)
  }
}

class Run {
  readonly #scene: ChaosScene
  readonly #options: ChaosOptions
  readonly #log: BeatLog
  readonly #judge: Judge
  readonly #injector: FaultInjector
  readonly #began = mono()
  /** Aborted at the first violation, at an interruption, and at the end. */
  readonly #over = new AbortController()
  readonly #ready = new Map<string, Poll>()
  readonly #recoveries: Recovery[] = []
  #failure: unknown
  #saidAt = mono()

  constructor(scene: ChaosScene, options: ChaosOptions) {
    this.#scene = scene
    this.#options = options
    this.#log = new BeatLog(scene.log)
    this.#judge = new Judge({
      stillSince: (replica, at) => scene.stillness.since(replica, at),
      leaseTaken: (term, next, stillSince) =>
        leaseTaken({ term, next, because: this.#because(next), stillSince }, this.#injector.list),
      epochForgotten: (replica, epoch, since) => this.#epochForgotten(replica, epoch, since),
    })
    this.#injector = new FaultInjector({
      scene,
      leader: () => this.#judge.terms.list.at(-1)?.replica,
      say: (sentence) => this.#say(sentence),
      broken: (error) => this.#fail(error),
    })
    options.signal.addEventListener('abort', () => this.#over.abort(), { once: true })
    if (options.signal.aborted) this.#over.abort()
  }

  async play(): Promise<Outcome> {
    const { slots } = this.#scene
    const { minutes } = this.#options
    const watching = Promise.all([this.#watch(), ...slots.map((slot) => this.#poll(slot))])
    let begin: Memory = { agents: [], launchers: [] }
    const kubernetes = await this.#scene.version()
    try {
      await this.#firstServer()
      begin = measureMemory(slots)
      await this.#rounds(this.#began + minutes * MINUTE_MS)
    } catch (error) {
      this.#fail(error)
    }
    const end = measureMemory(slots)
    this.#over.abort()
    await watching
    this.#log.close()
    const failure = this.#failure
    if (failure !== undefined && !(failure instanceof Violation)) throw failure
    const sum = (of: (slot: (typeof slots)[number]) => number) =>
      slots.reduce((all, slot) => all + of(slot), 0)
    return {
      seed: this.#options.seed,
      minutes,
      main: this.#options.main,
      ranMs: mono() - this.#began,
      interrupted: this.#options.signal.aborted,
      kubernetes,
      violation: failure ?? null,
      evidence: failure === undefined ? null : this.#scene.dir,
      judge: this.#judge,
      injector: this.#injector,
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
      await this.#injector.inject(fault, this.#over.signal)
    }
    await this.#rest()
  }

  /** Everything heals, and exactly one serves again. Returns how long that took, in milliseconds. */
  async #rest(): Promise<number> {
    const began = mono()
    await this.#injector.allHealed()
    if (this.#over.signal.aborted) return 0
    const recovery = await recover(this.#scene.slots, () => this.#readyNow(), this.#over.signal)
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
    } catch (error) {
      this.#failure ??= error
      this.#over.abort()
    }
  }

  /** Asks one pod's agent after the other's answer whether it is ready. */
  async #poll(slot: Slot): Promise<void> {
    while (!this.#over.signal.aborted) {
      const sentAt = mono()
      const replica = slot.identity
      const answer = await ask(slot.pod.httpPort, '/readyz', POLL.withinMs).catch(() => undefined)
      if (this.#over.signal.aborted) return
      const poll = { replica, sentAt, answeredAt: mono(), ready: answer?.status === 200 }
      this.#ready.set(replica, poll)
      this.#judge.poll(poll)
      await this.#pause(sentAt + POLL.everyMs - mono())
    }
  }

  #readyNow(): string[] {
    return this.#scene.slots
      .map(({ identity }) => identity)
      .filter((identity) => this.#ready.get(identity)?.ready)
  }

  /** Why a term could begin, in the words of its agent, while that still has them. */
  #because({ replica, epoch }: Term): string | undefined {
    const lines = this.#scene.slotOf(replica)?.pod.agent.lines ?? []
    const acquired = lines.findLast((line) => line.event === 'acquired' && line.epoch === epoch)
    return acquired?.reason?.replace(/^\S+-\d+ did/, 'its holder did')
  }

  #epochForgotten(replica: string, epoch: number, since: number): boolean {
    if (this.#scene.leaseDeletedAt < since) return false
    const lines = this.#scene.slotOf(replica)?.pod.agent.lines ?? []
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

import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { BUNDLE } from '../harness/bundle.ts'
import { BeatLog, Judge, readBeats, Violation } from '../harness/judge.ts'
import { ask, askStatus } from '../harness/replica.ts'
import { mono } from '../harness/wait.ts'
import { FaultInjector, type Injected } from './injector.ts'
import { RECOVERS_WITHIN_MS, RecoveryWatch } from './recovery.ts'
import { ChaosScene, REPLICAS, type Slot } from './scene.ts'
import { planFaults } from './schedule.ts'

const MINUTE_MS = 60_000
/** Planned time between two rests. In a rest all faults heal, and one replica must serve. */
const ROUND_MS = 150_000
/** Time at the end of the run without new faults, so that the last ones heal. It is at most a quarter of the run. */
const TAIL_MS = 45_000
const LOOK_MS = 200
/** Beats that are older than this have been read, even if a busy machine writes them late. */
const KNOWN_MS = 1_000
const FIRST_SERVER_MS = 60_000
/** The interval and the timeout of requests to `/readyz` of each agent. */
const POLL = { everyMs: 250, withinMs: 2_000 }

interface ChaosOptions {
  readonly minutes: number
  readonly seed: number
  readonly main: string
  readonly say: (sentence: string) => void
  /** Ends the run early. The outcome then has the results up to that time. */
  readonly signal: AbortSignal
}

export interface Outcome {
  readonly seed: number
  readonly ranMs: number
  readonly judge: Judge
  readonly faults: readonly Injected[]
  readonly missed: number
  /** The duration of each recovery in milliseconds. */
  readonly recoveries: readonly number[]
  /** A report of the violation. It names the directory with all logs. */
  readonly violation: string | undefined
}

/** Plays one run: five pods, random faults, and a judge. A violation is part of the outcome. */
export async function playChaos(options: ChaosOptions): Promise<Outcome> {
  const scene = await ChaosScene.start(options)
  let kept = false
  try {
    const outcome = await new Run(scene, options).play()
    kept = outcome.violation !== undefined
    return outcome
  } finally {
    await scene.close(kept)
  }
}

class Run {
  readonly #scene: ChaosScene
  readonly #options: ChaosOptions
  readonly #log: BeatLog
  readonly #judge = new Judge()
  readonly #injector: FaultInjector
  readonly #began = mono()
  /** Aborted at the first violation, on an interruption, and at the end of the run. */
  readonly #over = new AbortController()
  /** The identities of pods whose last answer was that they are ready. */
  readonly #ready = new Set<string>()
  readonly #recoveries: number[] = []
  #failure: unknown

  constructor(scene: ChaosScene, options: ChaosOptions) {
    this.#scene = scene
    this.#options = options
    this.#log = new BeatLog(scene.log)
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
    const watching = Promise.all([this.#watch(), ...this.#scene.slots.map((slot) => this.#poll(slot))])
    try {
      await this.#firstServer()
      await this.#rounds(this.#began + this.#options.minutes * MINUTE_MS)
    } catch (error) {
      this.#fail(error)
    }
    this.#over.abort()
    await watching
    this.#log.close()
    const failure = this.#failure
    if (failure !== undefined && !(failure instanceof Violation)) throw failure
    return {
      seed: this.#options.seed,
      ranMs: mono() - this.#began,
      judge: this.#judge,
      faults: this.#injector.list,
      missed: this.#injector.missed,
      recoveries: this.#recoveries,
      violation: failure && this.#evidence(failure),
    }
  }

  async #firstServer(): Promise<void> {
    const until = mono() + FIRST_SERVER_MS
    while (this.#readyNow().length === 0 && !this.#over.signal.aborted) {
      if (mono() > until)
        throw new Violation(
          'exactly one serves again',
          'no replica served within 60 s of the start, before any fault',
        )
      await this.#pause(LOOK_MS)
    }
  }

  async #rounds(ends: number): Promise<void> {
    const left = ends - mono()
    const tail = Math.min(TAIL_MS, left / 4)
    let origin = mono()
    let roundEnds = ROUND_MS
    for (const fault of planFaults(this.#options.seed, left)) {
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

  /** Waits until all faults have healed and exactly one replica serves. Returns the duration in milliseconds. */
  async #rest(): Promise<number> {
    const began = mono()
    await this.#injector.allHealed()
    const healedAt = mono()
    // A replica whose workload failed has a cool-down. If all have one, the recovery may take the shortest one longer.
    const coolDownMs = Math.min(...(await Promise.all(this.#scene.slots.map(coolDown))))
    const watch = new RecoveryWatch(healedAt, RECOVERS_WITHIN_MS + coolDownMs)
    while (!this.#over.signal.aborted) {
      const took = watch.look(mono(), this.#readyNow())
      if (took !== undefined) {
        this.#recoveries.push(took)
        this.#say(`all faults have healed; one replica served ${seconds(took)} later`)
        break
      }
      await this.#pause(LOOK_MS)
    }
    return mono() - began
  }

  /** Reads the workloads' log continuously, and passes new beats to the judge. */
  async #watch(): Promise<void> {
    while (!this.#over.signal.aborted) {
      this.#look()
      await this.#pause(LOOK_MS)
    }
    // The last beats may show a violation, too.
    this.#look()
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

  /** Asks one pod's agent again and again whether it is ready. */
  async #poll(slot: Slot): Promise<void> {
    while (!this.#over.signal.aborted) {
      const sentAt = mono()
      const replica = slot.identity
      const answer = await ask(slot.pod.httpPort, '/readyz', POLL.withinMs).catch(() => undefined)
      if (this.#over.signal.aborted) return
      const ready = answer?.status === 200
      if (ready) this.#ready.add(replica)
      else this.#ready.delete(replica)
      if (ready) this.#judge.ready(replica, sentAt)
      await this.#pause(sentAt + POLL.everyMs - mono())
    }
  }

  #readyNow(): string[] {
    return this.#scene.slots.map(({ identity }) => identity).filter((identity) => this.#ready.has(identity))
  }

  #fail(error: unknown): void {
    // Errors after the end of the run are expected, because all processes are killed.
    if (this.#over.signal.aborted) return
    this.#failure = error
    this.#over.abort()
  }

  #say(sentence: string): void {
    this.#options.say(`${seconds(mono() - this.#began).padStart(9)}  ${sentence}`)
  }

  async #pause(ms: number): Promise<void> {
    await sleep(Math.max(0, ms), undefined, { signal: this.#over.signal }).catch(() => {})
  }

  /** Describes a violation. The scene's directory keeps all details. */
  #evidence({ invariant, message }: Violation): string {
    const { minutes, seed, main } = this.#options
    const { dir, log } = this.#scene
    // npm may run the program in another directory than the one in which it was started.
    const program = main === BUNDLE ? '' : ` --main '${resolve(main)}'`
    const now = mono()
    const faults = this.#injector.list
    writeFileSync(join(dir, 'faults.json'), JSON.stringify(faults, null, 2))
    const owners = Map.groupBy(readBeats(log), ({ replica, epoch }) => `${replica}/${epoch}`)
    const last = [...owners.values()].slice(-TERMS).flatMap((beats) => beats.slice(-BEATS_OF_EACH))
    return [
      `VIOLATION, ${invariant}: ${message}.`,
      '',
      'last beats of the workloads (CLOCK_MONOTONIC in ms):',
      ...last
        .sort((a, b) => a.mono - b.mono)
        .map(
          (beat) =>
            `  ${beat.mono.toFixed(1)}  ${beat.replica} epoch ${beat.epoch} pid ${beat.pid} ${beat.what}`,
        ),
      '',
      `faults in the last ${seconds(MINUTE_MS)}:`,
      ...faults
        .filter(({ healedAt }) => healedAt >= now - MINUTE_MS)
        .map(({ kind, replica, at, healedAt }) => {
          const until = healedAt === Number.POSITIVE_INFINITY ? 'active' : `until ${healedAt.toFixed(1)}`
          return `  ${at.toFixed(1)}  ${kind}${replica && ` on ${replica}`}, ${until}`
        }),
      '',
      `all files are in ${dir}: the logs of all pods in logs/, the beats, faults.json`,
      `replay it: npm run chaos -- --minutes ${minutes} --seed ${seed}${program}`,
      '(a replay has the same faults in the same order, but not exactly the same timing, because the processes are real)',
    ].join('\n')
  }
}

const BEATS_OF_EACH = 6
const TERMS = 4

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`

/** Milliseconds until the replica campaigns again. An agent that doesn't answer is starting, and has no cool-down. */
async function coolDown({ pod }: Slot): Promise<number> {
  const status = await askStatus(pod.httpPort, 1_000).catch(() => undefined)
  return status?.leadership.coolDownMs ?? 0
}

/** A summary of a run in a few lines. */
export function summary({ seed, ranMs, judge, faults, missed, recoveries, violation }: Outcome): string {
  const kinds = Map.groupBy(faults, ({ kind }) => kind)
  return [
    `seed ${seed}, ${seconds(ranMs)}, ${REPLICAS} replicas: ${violation === undefined ? 'all invariants held' : 'an invariant was BROKEN'}`,
    `${Math.max(0, judge.terms.list.length - 1)} takeovers; ${faults.length} faults, and ${missed} that found no target`,
    `checked: ${judge.beats} beats, ${judge.readyAnswers} answers that a replica is ready, ${recoveries.length} recoveries of at most ${seconds(Math.max(0, ...recoveries))}`,
    `faults: ${[...kinds].map(([kind, list]) => `${list.length} × ${kind}`).join(', ')}`,
  ].join('\n')
}

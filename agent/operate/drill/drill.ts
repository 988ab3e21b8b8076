import { randomBytes } from 'node:crypto'
import { addAbortListener } from 'node:events'
import { readable } from '../../config/values.ts'
import { historyOf } from '../../lease/history.ts'
import { epochOf, holderOf, type Lease } from '../../lease/lease.ts'
import { DRILL, drillOf, LAST_DRILL, podOf } from '../../lease/operation.ts'
import { OperationError } from '../exit-codes.ts'
import { FrontsSeen } from '../fronts.ts'
import { swap } from '../swap.ts'
import { type Plan, withdraw } from '../switchover.ts'
import { measure, missing, type Probe } from './measure.ts'
import { Prober } from './prober.ts'
import { judge, type Limits, type Moment, type Played, type Report, type Result, worst } from './report.ts'
import { SCENARIO, type Scenario } from './scenarios.ts'
import type { Service } from './service.ts'
import type { ScenarioName } from './settings.ts'
import { type Fit, fit, observe, type Stage, summaryOf } from './sight.ts'

export interface DrillOptions {
  readonly scenarios: readonly ScenarioName[]
  /** How many attempts of the prober: 1 to 10. */
  readonly perSecond: number
  readonly limits: Limits
  /** How long a scenario may take until the replicas are as well as before. */
  readonly timeoutMs: number
}

export interface DrillStage extends Stage {
  readonly service: Service
  /** Tells a person what happens, one sentence a line. */
  tell(line: string): void
}

export interface Drilled {
  readonly report: Report
  readonly probes: readonly Probe[]
}

/** So many attempts may fail before a drill gives up, since nobody is served; nothing was done by then. */
const FIRST_ATTEMPTS = 3
/** How long users are watched before each fault, and after all is well again: longer than the renewal that notes a term's phases. */
const QUIET_MS = 3_000
/** How often Lease and replicas are looked at. */
const LOOK_MS = 500
/** Before the fault. */
const INTERRUPTED = 'interrupted: nothing was done'
/** By how much longer than its scenarios a drill may last. */
const MARGIN_MS = 60_000

/** Whether these scenarios could be played now. Rejects with an `OperationError` that says why not; changes nothing. */
export async function prepare(stage: Stage, scenarios: readonly ScenarioName[]): Promise<Fit> {
  const sight = await observe(
    stage,
    scenarios.some((name) => SCENARIO[name].needsPod),
  )
  const wallMs = stage.clock.now().wall
  refuseBeside(drillOf(sight.lease, wallMs))
  const before = fit(sight, 1, wallMs)
  for (const name of scenarios) await SCENARIO[name].rehearse(stage, before)
  return before
}

function refuseBeside(until: string | null): void {
  if (until === null) return
  throw new OperationError(
    'drill',
    `another drill is under way: wait until it is over, by ${until} at the latest`,
  )
}

/**
 * Plays the scenarios one after the other, each once the replicas are as well as before, while a prober uses the service. Rejects
 * with an `OperationError` where nothing was done, and by then has taken back whatever can be: also once `signal` aborts. From the
 * first fault on it resolves to a report.
 */
export async function drill(
  stage: DrillStage,
  options: DrillOptions,
  prepared: Fit,
  signal: AbortSignal,
): Promise<Drilled> {
  const run = new Run(stage, options, signal)
  try {
    await run.begin()
    for (const name of options.scenarios) {
      await run.play(name, prepared.plan.candidates.length)
      if (run.isOver) break
    }
  } catch (error) {
    await run.giveUp(error)
  }
  return run.end()
}

/** One drill under way. */
class Run {
  readonly #stage: DrillStage
  readonly #options: DrillOptions
  readonly #limits: Limits
  readonly #signal: AbortSignal
  /** Resolves once somebody interrupts. */
  readonly #stopped: Promise<void>
  readonly #prober: Prober
  readonly #began: string
  readonly #played: Played[] = []
  readonly #notes: string[] = []
  /** Numbers of messages that are known to be missing. */
  readonly #lost = new Set<number>()
  /** What the Lease says for as long as it lasts; `null`: nothing. */
  #mark: string | null = null
  /** A switchover that was asked for and has not happened yet. */
  #asked: Plan | null = null
  /** Something was done that cannot be taken back. */
  #done = false
  /** What became of the scenarios that were not played after others. */
  #rest: Result = 'ok'

  constructor(stage: DrillStage, options: DrillOptions, signal: AbortSignal) {
    this.#stage = stage
    this.#options = options
    this.#signal = signal
    this.#stopped = new Promise((resolve) => addAbortListener(signal, () => resolve()))
    this.#prober = new Prober(stage.service, options.perSecond, stage.clock)
    this.#began = this.#wallTime()
    const stores = stage.service.rows !== null
    this.#limits = { ...options.limits, rpoRows: stores ? options.limits.rpoRows : null }
    if (!stores)
      this.#notes.push('No RPO is measured: without a flow (--flow) nothing is stored that could be missing.')
  }

  /** Whether no other scenario is to be played. */
  get isOver(): boolean {
    return this.#result === 'failed' || this.#result === 'interrupted'
  }

  get #result(): Result {
    return worst([...this.#played.map(({ result }) => result), this.#rest])
  }

  /** Rejects where users are not served before anything was done, or what they are told is not stored. */
  async begin(): Promise<void> {
    const { service } = this.#stage
    this.#prober.start()
    const tried = this.#prober.tried(FIRST_ATTEMPTS)
    const { number, problem } = await unlessStopped(tried, this.#signal, INTERRUPTED)
    if (problem !== null)
      throw new OperationError(
        'not_served',
        `users are not served before the drill: ${service.what}: ${problem}`,
      )
    const kept = await service.rows?.kept().catch((error: Error) => {
      throw new OperationError(
        'not_served',
        `what is stored cannot be read, so that no RPO is measured: ${error.message}`,
      )
    })
    if (kept !== undefined && !kept.has(number))
      throw new OperationError(
        'not_served',
        `${service.what} answers and stores no message: give --flow one with a Chat Input that stores its messages, or ` +
          'leave it out to measure no RPO',
      )
    await this.#tellOthers()
  }

  async #tellOthers(): Promise<void> {
    const { clock, cluster } = this.#stage
    const { timeoutMs, scenarios } = this.#options
    const until = new Date(clock.now().wall + scenarios.length * (timeoutMs + MARGIN_MS)).toISOString()
    const mark = `${until} ${randomBytes(4).toString('hex')}`
    try {
      await swap(cluster, (lease) => {
        refuseBeside(drillOf(lease, clock.now().wall))
        return { [DRILL]: mark }
      })
      this.#mark = mark
    } catch (error) {
      if (!(error instanceof OperationError && error.code === 'no_rights')) throw error
      this.#notes.push(`The Lease does not tell of this drill: ${error.message}.`)
    }
  }

  /** `able`: how many others could take over before the drill. */
  async play(name: ScenarioName, able: number): Promise<void> {
    const { clock, tell } = this.#stage
    const scenario = SCENARIO[name]
    const fromMs = this.#prober.now()
    await this.#pause(QUIET_MS)
    const before = fit(await observe(this.#stage, scenario.needsPod), able, clock.now().wall)
    if (this.#signal.aborted) throw new OperationError('interrupted', INTERRUPTED)
    const { plan } = before
    tell(`${name}: ${plan.from} leads in term ${plan.epoch}`)
    const diary = new Diary(this.#prober, tell)
    const fronts = new FrontsSeen()
    const hasFronts = fronts.saw(before.rows)
    const did = await scenario.play(this.#stage, before)
    // From now on it counts as played, whatever cannot be found out and whoever interrupts.
    const deadline = clock.mono() + this.#options.timeoutMs
    if (name === 'switchover') this.#asked = plan
    else this.#done = true
    diary.saw(did, diary.fromMs)
    const { wellAgainMs, problem } = await this.#recovers(scenario, before, able, diary, fronts, deadline)
    await this.#pause(QUIET_MS)
    const span = { fromMs, toMs: this.#prober.now() }
    await Promise.race([this.#prober.settled(), this.#stopped])
    const measured = measure(this.#prober.probes, span)
    const stored = problem === null && !this.#signal.aborted ? await this.#missingRows() : null
    const rpoRows = typeof stored === 'number' ? stored : null
    // Only now it says how long each phase took.
    const after = await this.#leaseBy(deadline)
    const lease = typeof after === 'string' ? null : after
    const holder = lease === null ? '' : holderOf(lease)
    const failed = problem ?? [stored, after].find((one) => typeof one === 'string') ?? null
    this.#played.push({
      scenario: name,
      ...(this.#signal.aborted
        ? ({ result: 'interrupted', problem: 'it was ended before all was measured' } as const)
        : failed === null
          ? judge(this.#limits, measured, rpoRows, hasFronts && scenario.isPlanned)
          : ({ result: 'failed', problem: failed } as const)),
      did,
      from: plan.from,
      to: holder === '' ? null : podOf(holder),
      epochBefore: plan.epoch,
      epochAfter: lease === null ? plan.epoch : epochOf(lease),
      faultMs: diary.fromMs,
      span,
      wellAgainMs,
      fronts: fronts.held === null ? null : { held: fronts.held, streamsEnded: fronts.streamsEnded },
      measured,
      rpoRows,
      terms: historyOf(lease)
        .filter(({ epoch }) => epoch >= plan.epoch)
        .reverse(),
      moments: diary.moments,
    })
  }

  /** Watches until the replicas are as well as before, or never will be, or somebody interrupts. */
  async #recovers(
    scenario: Scenario,
    before: Fit,
    able: number,
    diary: Diary,
    fronts: FrontsSeen,
    deadline: number,
  ): Promise<Pick<Played, 'wellAgainMs' | 'problem'>> {
    const { clock } = this.#stage
    let happened = false
    let told = summaryOf(before)
    for (;;) {
      await this.#pause(LOOK_MS)
      if (this.#signal.aborted) return { wellAgainMs: null, problem: null }
      let lacks = 'it had no effect'
      try {
        const now = await observe(this.#stage, scenario.watchesPod)
        fronts.saw(now.rows)
        happened ||= scenario.happened(before, now)
        if (happened) {
          this.#asked = null
          this.#done = true
        }
        const said = summaryOf(now)
        if (said !== told) diary.saw(said)
        told = said
        fit(now, able, clock.now().wall)
        if (happened) {
          diary.saw('as many replicas as before could take over again')
          return { wellAgainMs: diary.sinceMs, problem: null }
        }
      } catch (error) {
        if (!(error instanceof OperationError)) throw error
        if (error.code === 'refused') {
          this.#asked = null
          return { wellAgainMs: null, problem: error.message }
        }
        lacks = error.message
      }
      if (clock.mono() >= deadline)
        return {
          wellAgainMs: null,
          problem: `not well again within ${readable(this.#options.timeoutMs)}: ${lacks}`,
        }
    }
  }

  /** The Lease, or why it cannot be read in time. */
  async #leaseBy(deadline: number): Promise<Lease | string> {
    for (;;) {
      try {
        return await this.#stage.cluster.lease()
      } catch (error) {
        if (!(error instanceof OperationError)) throw error
        if (this.#stage.clock.mono() >= deadline || this.#signal.aborted)
          return `what came of it cannot be read any more: ${error.message}`
      }
      await this.#pause(LOOK_MS)
    }
  }

  /** How many rows that were acknowledged are missing for the first time, or why that cannot be told. */
  async #missingRows(): Promise<number | string | null> {
    const { rows } = this.#stage.service
    if (rows === null) return null
    // What is acknowledged from now on may not be among what is read.
    const acknowledged = [...this.#prober.probes]
    const reading = rows.kept().catch((error: Error) => error.message)
    const kept = await Promise.race([reading, this.#stopped])
    if (kept === undefined) return null
    if (typeof kept === 'string') return `what is stored cannot be read any more: ${kept}`
    const lost = missing(acknowledged, kept).filter((number) => !this.#lost.has(number))
    for (const number of lost) this.#lost.add(number)
    return lost.length
  }

  /** Once something was played, what keeps the others from being played is part of the report; else nothing is left of the drill. */
  async giveUp(error: unknown): Promise<void> {
    const interrupted = error instanceof OperationError && error.code === 'interrupted'
    if (error instanceof OperationError && this.#played.length > 0) {
      this.#rest = interrupted ? 'interrupted' : 'failed'
      if (!interrupted) this.#notes.push(`The drill ended early: ${error.message}.`)
      return
    }
    const undone = await this.#cleanUp(null)
    throw interrupted ? new OperationError('interrupted', [error.message, ...undone].join('; ')) : error
  }

  async end(): Promise<Drilled> {
    const skipped = this.#options.scenarios.slice(this.#played.length)
    const result = this.#result
    const undone = await this.#cleanUp(result)
    const { cluster, service } = this.#stage
    const stays =
      service.rows === null
        ? []
        : ["The runs stay in LangFlow's logs and build history, which it trims by itself."]
    const mends =
      result === 'interrupted' && this.#done ? ['What was done to the replicas mends by itself.'] : []
    const report: Report = {
      namespace: cluster.namespace,
      lease: cluster.leaseName,
      began: this.#began,
      ended: this.#wallTime(),
      result,
      probe: service.what,
      perSecond: this.#options.perSecond,
      limits: this.#limits,
      scenarios: this.#played,
      skipped,
      notes: [...this.#notes, ...undone.map(asSentence), ...mends, ...stays],
    }
    return { report, probes: this.#prober.probes }
  }

  /** Ends the prober and takes back whatever can be. Resolves to what became of it. `result`: of a drill that has ended. */
  async #cleanUp(result: Result | null): Promise<string[]> {
    const { cluster, service } = this.#stage
    const undone: string[] = []
    const attempt = async (what: string, act: () => Promise<string | null>) => {
      const said = await act().catch((error: Error) => `${what}: ${error.message}`)
      if (said !== null) undone.push(said)
    }
    const asked = this.#asked
    if (asked !== null)
      await attempt('a switchover may still be asked for', async () =>
        (await withdraw(cluster, asked)) === 'withdrawn'
          ? 'the switchover that was asked for is taken back'
          : 'the switchover had begun, and goes on',
      )
    await this.#prober.stop()
    const { rows } = service
    if (rows !== null && this.#prober.probes.length > 0)
      await attempt('the messages of the drill stay', async () => {
        await rows.forget()
        return 'the messages of the drill are deleted'
      })
    if (this.#mark !== null)
      await attempt('the Lease does not say that the drill is over', async () => {
        await swap(cluster, ({ metadata }) => {
          const own = metadata.annotations?.[DRILL] === this.#mark
          const noted = result === 'interrupted' ? 'failed' : result
          const last = noted !== null && { [LAST_DRILL]: `${this.#wallTime()} ${noted}` }
          return own || last !== false ? { ...(own && { [DRILL]: null }), ...last } : null
        })
        return null
      })
    return undone
  }

  #wallTime(): string {
    return new Date(this.#stage.clock.now().wall).toISOString()
  }

  /** Until somebody interrupts at the longest, and then leaves no timer that would keep the process. */
  async #pause(ms: number): Promise<void> {
    const over = Promise.withResolvers<void>()
    const timer = this.#stage.clock.after(ms, over.resolve)
    await Promise.race([over.promise, this.#stopped])
    timer.cancel()
  }
}

/** Rejects with this sentence once `signal` aborts. */
export async function unlessStopped<T>(
  awaited: Promise<T>,
  signal: AbortSignal,
  sentence: string,
): Promise<T> {
  const stopped = Promise.withResolvers<never>()
  using _ = addAbortListener(signal, () => stopped.reject(new OperationError('interrupted', sentence)))
  return await Promise.race([awaited, stopped.promise])
}

/** What was seen since the fault. */
class Diary {
  readonly moments: Moment[] = []
  readonly fromMs: number
  readonly #prober: Prober
  readonly #tell: (line: string) => void

  constructor(prober: Prober, tell: (line: string) => void) {
    this.#prober = prober
    this.#tell = tell
    this.fromMs = prober.now()
  }

  get sinceMs(): number {
    return this.#prober.now() - this.fromMs
  }

  saw(what: string, atMs = this.#prober.now()): void {
    this.moments.push({ atMs, what })
    this.#tell(`${`+${readable(atMs - this.fromMs)}`.padStart(10)}  ${what}`)
  }
}

function asSentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

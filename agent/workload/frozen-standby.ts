import { type Clock, pause } from '../clock.ts'
import { FlowsDigest } from './flows-digest.ts'
import { type FrozenPlan, planFrozen, UnfitError } from './frozen-plan.ts'
import { cpuTicks, memoryOf } from './proc.ts'
import type { Exit, ProcessTree } from './process-tree.ts'
import { canConnect } from './reach.ts'
import { COLD, type FrozenWorkload, type Rung, type StandbyView } from './standby.ts'

export interface FrozenStandbyOptions {
  /** The workload's command, as it stood after `--`. */
  readonly command: readonly string[]
  /** The workload's environment, but for what a grant adds to it. */
  readonly environment: () => NodeJS.ProcessEnv
  readonly clock: Clock
  readonly tree: () => ProcessTree
  /** `null` where the workload's port is free, otherwise one sentence. */
  readonly portHolder: () => Promise<string | null>
  /** What is wrong with LangFlow, or `null`. */
  readonly health: (timeoutMs: number) => Promise<string | null>
  /** How long its start may take. */
  readonly patienceMs: number
  /** How long it may take to answer once it is thawed. */
  readonly thawMs: number
  readonly changed: (view: StandbyView) => void
  /** What it was started from is not the newest any more: it is to be prepared again. */
  readonly stale: () => void
  readonly note: (level: 'info' | 'warn', sentence: string) => void
}

interface Held {
  readonly tree: ProcessTree
  /** Its start; `null`: that has not begun. */
  start: Promise<{ pid: number }> | null
  pid: number
  /** How many processes were frozen. */
  count: number
  exited: (exit: Exit) => void
}

const HEALTH_EVERY_MS = 250
const HEALTH_WITHIN_MS = 2_000
/** Frozen in the middle of a transaction it would keep its locks; one that uses less of a core than this idles. */
const QUIET_MS = 1_000
const QUIET_TICKS = 10
const QUIET_WITHIN_MS = 20_000
const LOOK_MS = 5_000
const KILL_WITHIN_MS = 3_000
const THAW_CHECK_MS = 25

/**
 * A LangFlow that was started, was healthy once, and is stopped by SIGSTOP until a grant thaws it. It runs ungated, and under
 * no grant, while it is prepared: the one exception to rule 1, on a database that is made for several at once.
 */
export class FrozenStandby implements Rung {
  private readonly options: FrozenStandbyOptions
  /** Of the one that is prepared or held now. */
  private attempt: object | null = null
  private held: Held | null = null
  private settling: PromiseWithResolvers<void> = Promise.withResolvers<void>()
  /** Resolves once nothing lives of those that were let go. */
  private gone: Promise<unknown> = Promise.resolve()
  private digest: FlowsDigest | null = null
  /** A start waits for it: it is thawed at once, and need not idle first. */
  private awaited = false
  unfit = false
  view: StandbyView = COLD

  constructor(options: FrozenStandbyOptions) {
    this.options = options
    this.settling.resolve()
  }

  async obstacle(): Promise<string | null> {
    try {
      const { database } = this.plan()
      const problem = database === null ? null : await canConnect(database, HEALTH_WITHIN_MS)
      return problem === null ? await this.options.portHolder() : `PostgreSQL cannot be reached: ${problem}`
    } catch (error) {
      return (error as Error).message
    }
  }

  prepare(): void {
    if (this.attempt !== null) return
    const attempt = {}
    this.attempt = attempt
    this.awaited = false
    this.settling = Promise.withResolvers<void>()
    this.become({ ...COLD, mode: 'frozen', state: 'preparing' })
    this.bringUp(attempt).catch((error: Error) => this.fail(attempt, error.message))
  }

  settled(): Promise<void> {
    this.awaited = true
    return this.settling.promise
  }

  takeFrozen(exited: (exit: Exit) => void): FrozenWorkload | null {
    const { held, view } = this
    if (held === null || view.state !== 'ready') return null
    this.attempt = null
    this.held = null
    held.exited = exited
    const taken: StandbyView = { ...COLD, mode: 'frozen' }
    this.become(taken)
    return { tree: held.tree, pid: held.pid, answers: () => this.awaitAnswer(taken) }
  }

  async discard(): Promise<void> {
    this.view = COLD
    await this.letGo(() => {})
  }

  /** A start that waits for this one goes on only once nothing of it is left. `then`: unless it is prepared anew. */
  private async letGo(then: () => void): Promise<void> {
    const { held, settling } = this
    const next = Promise.withResolvers<void>()
    this.attempt = null
    this.held = null
    this.settling = next
    this.gone = Promise.all([this.gone, kill(held)])
    await this.gone
    if (this.settling === next) then()
    next.resolve()
    settling.resolve()
  }

  private plan(): FrozenPlan {
    const { command, environment } = this.options
    try {
      const plan = planFrozen(command, environment())
      this.unfit = false
      return plan
    } catch (error) {
      this.unfit = error instanceof UnfitError
      throw error
    }
  }

  /** Until it is healthy, idle, and frozen. */
  private async bringUp(attempt: object): Promise<void> {
    const { clock, note, tree: newTree, patienceMs } = this.options
    const goesOn = () => this.attempt === attempt
    // Its end would be that of this one, too: they carry the same mark.
    await this.gone
    const obstacle = await this.obstacle()
    if (obstacle !== null) throw new Error(obstacle)
    const { command, env, notes, flows } = this.plan()
    const digest = new FlowsDigest(flows)
    await digest.changed()
    if (!goesOn()) return
    for (const sentence of notes) note('info', sentence)
    const exited = (exit: Exit) => this.ended(attempt, exit)
    const held: Held = { tree: newTree(), start: null, pid: 0, count: 0, exited }
    this.digest = digest
    this.held = held
    held.start = held.tree.start(command, env, (exit) => held.exited(exit))
    held.pid = (await held.start).pid
    const deadline = clock.mono() + patienceMs
    while (goesOn() && (await this.options.health(HEALTH_WITHIN_MS)) !== null) {
      if (clock.mono() >= deadline) throw new Error(`it was not healthy within ${patienceMs / 1000} s`)
      await pause(this.options.clock, HEALTH_EVERY_MS)
    }
    await this.untilQuiet(held, goesOn)
    if (!goesOn()) return
    held.count = held.tree.freeze().stopped
    if (held.count === 0 || held.count < held.tree.alive().length) throw new Error('it could not be frozen')
    this.become({ ...this.view, state: 'ready', memoryBytes: sumOf(held, memoryOf) })
    this.settling.resolve()
    this.keepWatch(attempt)
  }

  private async untilQuiet(held: Held, goesOn: () => boolean): Promise<void> {
    const { clock } = this.options
    const deadline = clock.mono() + QUIET_WITHIN_MS
    for (let before = sumOf(held, cpuTicks); goesOn() && !this.awaited && clock.mono() < deadline; ) {
      await pause(this.options.clock, QUIET_MS)
      const now = sumOf(held, cpuTicks)
      if (before !== null && now !== null && now - before < QUIET_TICKS) return
      before = now
    }
  }

  /** A frozen one hears of nothing: neither that its flows were changed, nor that some of it was killed. */
  private keepWatch(attempt: object): void {
    const look = async () => {
      const changed = (await this.digest?.changed()) ?? false
      const { held } = this
      if (this.attempt !== attempt || held === null) return
      try {
        if (held.tree.alive().length < held.count) throw new Error('one of its processes has ended')
        // Somebody may have woken it.
        held.tree.freeze()
      } catch (error) {
        void this.fail(attempt, (error as Error).message)
        return
      }
      this.options.clock.after(LOOK_MS, () => void look())
      if (changed) this.options.stale()
    }
    this.options.clock.after(LOOK_MS, () => void look())
  }

  /** Its view is that of the standby until another is prepared. */
  private async awaitAnswer(taken: StandbyView): Promise<string | null> {
    const { clock, health, thawMs } = this.options
    const deadline = clock.mono() + thawMs
    for (;;) {
      const problem = await health(Math.max(1, deadline - clock.mono()))
      if (problem === null) return null
      if (clock.mono() + THAW_CHECK_MS < deadline) {
        await pause(this.options.clock, THAW_CHECK_MS)
        continue
      }
      const reason = `the frozen LangFlow was not healthy within ${thawMs / 1000} s of its thaw (${problem})`
      if (this.view === taken) this.become({ ...COLD, reason: `${reason}: it is started anew` })
      return reason
    }
  }

  private ended(attempt: object, { code, signal }: Exit): void {
    void this.fail(attempt, `it ended (${signal ?? `exit code ${code}`})`)
  }

  private async fail(attempt: object, reason: string): Promise<void> {
    if (this.attempt !== attempt) return
    this.become({ ...COLD, mode: 'frozen', state: 'preparing' })
    await this.letGo(() => this.become({ ...COLD, reason: `LangFlow cannot be kept frozen: ${reason}` }))
  }

  private become(view: StandbyView): void {
    this.view = view
    this.options.changed(view)
  }
}

async function kill(held: Held | null): Promise<void> {
  if (held === null) return
  // Killed while it is being started it could live on.
  await held.start?.catch(() => {})
  // What cannot be killed holds the port: the next start says so.
  await held.tree.kill(KILL_WITHIN_MS).catch(() => [])
}

/** `null` where it cannot be told of one of them. */
function sumOf({ tree }: Held, measure: (pid: number) => number | null): number | null {
  let sum = 0
  for (const { pid } of tree.alive()) {
    const value = measure(pid)
    if (value === null) return null
    sum += value
  }
  return sum
}

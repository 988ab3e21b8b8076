import { type Clock, pause, type Timer } from '../clock.ts'
import { findAloneMembers, findMembers, type Seen } from './membership.ts'
import type { ProcessIdentity, ProcessStat } from './proc.ts'
import {
  carries,
  isDead,
  isEnding,
  isKernelThread,
  isSame,
  readProcesses,
  readStat,
  threadStates,
} from './proc.ts'
import { type Scan, signalAll, signalGroup, signalNamespace, signalSame } from './signals.ts'
import { type Exit, exitOf, firstProcess, type Reaper, spawnCommand } from './spawn.ts'

export type LiveProcess = Pick<ProcessStat, 'pid' | 'startTime' | 'state' | 'comm'>

export interface ProcessTreeOptions {
  /** Names the workload's processes in their environment. The value must differ from that of any other workload. */
  readonly marker: { readonly name: string; readonly value: string }
  readonly clock: Clock
  readonly alone: boolean
  readonly reaper?: Reaper
  /** Starts the command, by default from nothing. Resolves within the turn in which the child was created. */
  readonly spawn?: typeof spawnCommand
}

/** The launcher's own loop is blocked during a freeze. Signals to a tree of 50 processes take 1-5 ms. */
const FREEZE_WITHIN_MS = 250
const LONGEST_STEP_MS = 16
const WATCH_EVERY_MS = 1000
/** The watch may use a 500th of a core, regardless of the number of processes on the machine. */
const WATCH_SHARE = 500
/** An execve takes 0.1 ms between its old and its new environment, but 30 ms and more if it waits for a processor. */
const BLANK_WITHIN_MS = 1000
/** tini ends a millisecond after it was continued, unless the machine is busy or a flow has changed it. */
const REAP_WITHIN_MS = 200

export type ProcessTree = Pick<SignalledTree, keyof SignalledTree>

export function createProcessTree(options: ProcessTreeOptions): ProcessTree {
  return options.alone ? new NamespaceTree(options) : new MarkedTree(options)
}

/**
 * The workload: the direct child and all its descendants, regardless of session and parent. No other process is ever
 * signalled. If the live processes are unknown, methods throw or reject, and nothing may count as stopped. Before
 * `start`, the other methods act on the remains of an earlier launcher.
 */
abstract class SignalledTree {
  protected readonly options: ProcessTreeOptions
  private child: (ProcessIdentity & { exited: boolean }) | undefined
  private first: ProcessIdentity | undefined
  private isFrozen = false
  /** The first process was alive at the last check of a stop. */
  private isLed = true
  /** Of each process that was measured. One that has ended keeps its last value. */
  private readonly cpuTicks = new Map<string, number>()
  /** Start times of the processes that received SIGSTOP since the last thaw, by pid. */
  private readonly stopped = new Map<number, string>()

  constructor(options: ProcessTreeOptions) {
    this.options = options
  }

  protected abstract scan(): Scan

  protected began(_child: ProcessIdentity): void {}

  /** tini, after it has started the first process. `null`: no tini is used, or it has ended. */
  protected get reaper(): ProcessIdentity | null {
    const { child, first } = this
    return child !== undefined && first !== undefined && !child.exited && first.pid !== child.pid
      ? child
      : null
  }

  /** Without tini, which must outlive the others: PID 1 could not reap them. */
  private scanLed(): Scan {
    const found = this.scan()
    if (this.reaper !== null) found.members.delete(this.reaper.pid)
    return found
  }

  /**
   * Starts the command in its own session, and passes its output through. Rejects with one sentence if the command
   * cannot be started. `exited` is called once, when its first process has ended. Other processes may still be alive.
   */
  async start(command: readonly string[], env: NodeJS.ProcessEnv, exited: (exit: Exit) => void) {
    const { marker, clock, reaper = [], spawn = spawnCommand } = this.options
    const started = await spawn(command, { ...env, [marker.name]: marker.value }, reaper)
    const { pid } = started
    // The child cannot have been reaped yet: the event loop has not turned since it was created.
    const child = { pid, startTime: readStat(pid)?.startTime ?? '', exited: false }
    this.child = child
    started.once('exit', (code, signal) => {
      child.exited = true
      exited(exitOf(code, signal, reaper))
    })
    // A later failure to deliver a signal needs no report, but without a listener it would end the launcher.
    started.on('error', () => {})
    this.began(child)
    this.first = (await firstProcess(started, reaper, clock)) ?? undefined
    return { pid: this.first?.pid ?? pid }
  }

  alive(): LiveProcess[] {
    return living(this.scan())
  }

  /**
   * The CPU time so far. Only the difference between two measurements counts. That of a child that was measured counts
   * again when its parent has waited for it: a LangFlow that works must not count as one that hangs.
   */
  cpuMs(): number {
    for (const { pid, startTime, cpuTicks } of this.scan().members.values())
      this.cpuTicks.set(`${pid} ${startTime}`, cpuTicks)
    return 10 * [...this.cpuTicks.values()].reduce((sum, ticks) => sum + ticks, 0)
  }

  /**
   * SIGTERM to the process group of the first process (and SIGCONT, so that a stopped one can act on it). tini would end
   * with that process, so it is stopped until `isStopped` finds no other process.
   */
  terminate(): void {
    let found: Scan
    try {
      if (this.reaper !== null) signalSame(this.reaper, 'SIGSTOP')
      found = this.scanLed()
    } catch (error) {
      this.signalChildGroup('SIGTERM')
      throw error
    }
    const targets = living(found)
    const first = this.first ?? this.child
    const leader = targets.find((stat) => isSame(stat, first))
    // Without the parent, no process would pass the signal on, so each one receives it.
    const led = targets.filter((stat) => stat === leader || stat.pgrp === leader?.pid)
    signalAll(leader ? led : targets, found, 'SIGTERM')
    signalAll(targets.filter(isStopped), found, 'SIGCONT')
  }

  /** Whether no process is alive after `terminate`. Processes that the first one left behind receive SIGTERM once. */
  async isStopped(): Promise<boolean> {
    const { reaper } = this
    if (reaper === null) return this.alive().length === 0
    const left = living(this.scanLed())
    if (left.length > 0) {
      if (this.isLed && !left.some((stat) => isSame(stat, this.first))) {
        this.isLed = false
        this.terminate()
      }
      return false
    }
    signalSame(reaper, 'SIGCONT')
    await pause(this.options.clock, 2)
    return this.alive().length === 0
  }

  /**
   * SIGSTOP until a scan finds no process that is not stopped. Returns the number that were awake at the start. If a
   * frozen process is awake, another process has continued it.
   */
  freeze(): number {
    let awake: number | undefined
    try {
      // A process that was continued from elsewhere is visible only before it is stopped again.
      if (this.isFrozen) awake = this.looseIn(living(this.scan())).length
    } finally {
      this.isFrozen = true
      this.signalChildGroup('SIGSTOP')
    }
    const { clock } = this.options
    const deadline = clock.mono() + FREEZE_WITHIN_MS
    for (;;) {
      const found = this.scan()
      const loose = this.looseIn(living(found))
      awake ??= loose.length
      if (loose.length === 0 || clock.mono() > deadline) return awake
      signalAll(loose, found, 'SIGSTOP')
      for (const { pid, startTime } of loose) this.stopped.set(pid, startTime)
    }
  }

  /** SIGCONT to the processes that `freeze` stopped. */
  thaw(): void {
    const found = this.scan()
    this.isFrozen = false
    this.stopped.clear()
    signalAll(living(found).filter(isStopped), found, 'SIGCONT')
  }

  /**
   * SIGKILL until a scan finds no live process, for at most `withinMs`. Returns the survivors. `_isUrgent`: nothing may
   * execute any more, so tini is not spared.
   */
  async kill(withinMs: number, _isUrgent = false): Promise<LiveProcess[]> {
    const { clock } = this.options
    const deadline = clock.mono() + withinMs
    for (let stepMs = 1; ; stepMs = Math.min(stepMs * 2, LONGEST_STEP_MS)) {
      const late = clock.mono() >= deadline
      try {
        const survivors = this.killOnce()
        if (survivors.length === 0 || late) return survivors
      } catch (error) {
        if (late) throw error
      }
      await pause(clock, stepMs)
    }
  }

  protected killOnce(): LiveProcess[] {
    this.signalChildGroup('SIGKILL')
    const found = this.scan()
    const targets = living(found)
    signalAll(targets, found, 'SIGKILL')
    return targets
  }

  private looseIn(targets: readonly ProcessStat[]): ProcessStat[] {
    return targets.filter(
      (stat) => !isEnding(stat) && !isHeld(stat, this.stopped.get(stat.pid) === stat.startTime),
    )
  }

  /** Needs no /proc: until the child is reaped, its pid and group are its own, and those of the processes it forked. */
  private signalChildGroup(signal: NodeJS.Signals): void {
    const { child, first } = this
    if (child === undefined || child.exited) return
    signalGroup(child.pid, signal)
    if (first !== undefined && first.pid !== child.pid) signalGroup(first.pid, signal)
  }
}

/** The launcher is PID 1 of a namespace in which only the workload runs. */
class NamespaceTree extends SignalledTree {
  /** The processes that received SIGKILL before tini, at first `null`. */
  private killed: Seen | null = null
  /** Monotonic ms until which tini is spared. */
  private spareUntil = 0
  private isReaping = false

  protected override scan(): Scan {
    const table = readProcesses()
    return { table, members: findAloneMembers(table) }
  }

  override kill(withinMs: number, isUrgent = false): Promise<LiveProcess[]> {
    this.killed = null
    this.isReaping = false
    this.spareUntil = isUrgent ? 0 : this.options.clock.mono() + withinMs / 2
    return super.kill(withinMs)
  }

  protected override killOnce(): LiveProcess[] {
    const { reaper } = this
    try {
      const survivors = reaper && this.killBeside(reaper)
      if (survivors !== null) return survivors
    } catch {
      // The signal below needs no /proc.
    }
    this.spareUntil = 0
    signalNamespace('SIGKILL')
    return super.killOnce()
  }

  /**
   * One SIGSTOP reaches every process, so that no process executes or forks. Then all but tini are killed, and tini reaps them
   * and ends by itself. `null`: tini must be killed as well, because a process escaped the SIGSTOP or takes too long.
   */
  private killBeside(reaper: ProcessIdentity): LiveProcess[] | null {
    const now = this.options.clock.mono()
    if (now >= this.spareUntil) return null
    if (!this.isReaping) signalNamespace('SIGSTOP')
    const found = this.scan()
    // Processes that entered from outside are killed as well, since they were stopped.
    const members = new Map([...found.table].filter(([pid]) => pid !== 1 && pid !== reaper.pid))
    const left = living(found).filter(({ pid }) => pid !== reaper.pid)
    if (this.killed !== null && left.some((stat) => !isSame(stat, this.killed?.get(stat.pid)))) return null
    this.killed = members
    signalAll(living({ ...found, members }), { ...found, members }, 'SIGKILL')
    if (left.length > 0) return left
    if (!this.isReaping) {
      this.isReaping = true
      this.spareUntil = now + REAP_WITHIN_MS
      signalSame(reaper, 'SIGCONT')
    }
    return living(found)
  }
}

/**
 * Other processes share the PID namespace, so each process needs evidence: the marker, or its relation to a member. A
 * scan each second (1.5 ms for 100 processes) finds those that clear their environment before they leave their parent.
 */
class MarkedTree extends SignalledTree {
  private seen: Seen = new Map()
  /** Monotonic ms since which a process has had no environment. */
  private readonly blankSince = new Map<string, number>()
  /** A process that loses its parent gets one of these, if it descends from this launcher and not from an earlier one. */
  private adopters: Set<number> | null = null
  private watch: Timer | undefined

  protected override scan(): Scan {
    const { clock, marker } = this.options
    const variable = Buffer.from(`${marker.name}=${marker.value}\0`)
    const marked = new Set<number>()
    const table = readProcesses((stat, known) => {
      if (isSame(stat, this.seen.get(stat.pid)) || isEnding(stat) || isKernelThread(stat)) return true
      // These two are never members, and PID 1 may never show an environment.
      if (stat.pid === 1 || stat.pid === process.pid) return true
      const id = `${stat.pid} ${stat.startTime}`
      const since = this.blankSince.get(id) ?? clock.mono()
      const answer = carries(stat.pid, variable)
      if (answer === 'blank') this.blankSince.set(id, since)
      else this.blankSince.delete(id)
      if (answer === 'yes') marked.add(stat.pid)
      if (answer !== 'blank') return answer !== 'gone'
      // It still has its own parent, so it is a member only if its parent is one.
      if (this.adopters?.has(stat.ppid) === false && known.has(stat.ppid)) return true
      return clock.mono() - since > BLANK_WITHIN_MS
    })
    const members = findMembers(table, this.seen, marked, process.pid)
    this.seen = members
    return { table, members }
  }

  protected override began(child: ProcessIdentity): void {
    this.adopters = new Set([1])
    for (let pid = process.pid; pid > 0; pid = readStat(pid)?.ppid ?? 0) this.adopters.add(pid)
    this.seen = new Map(this.seen).set(child.pid, child)
    this.watch?.cancel()
    this.look(WATCH_EVERY_MS)
  }

  override async kill(withinMs: number): Promise<LiveProcess[]> {
    const survivors = await super.kill(withinMs)
    if (survivors.length === 0) this.watch?.cancel()
    return survivors
  }

  private look(afterMs: number): void {
    const { clock } = this.options
    this.watch = clock.after(afterMs, () => {
      const began = clock.mono()
      try {
        if (this.alive().length === 0) return
      } catch {
        // The next scan may succeed. A caller that needs an answer scans by itself and receives the error.
      }
      this.look(Math.max(WATCH_EVERY_MS, (clock.mono() - began) * WATCH_SHARE))
    })
  }
}

function living(found: Scan): ProcessStat[] {
  return [...found.members.values()].filter((stat) => !isDead(stat))
}

/**
 * Whether none of its threads executes anything until SIGCONT. With SIGSTOP pending, a thread in an uninterruptible
 * wait (D: for example a vfork whose child is stopped), one that has ended (Z) and one that is traced (t) never show T,
 * but stop before their next instruction. If its tracer continues a thread, it runs while the others are stopped.
 */
function isHeld(stat: ProcessStat, signalled: boolean): boolean {
  const held = (state: string) => state === 'T' || (signalled && 'DZtX'.includes(state))
  return held(stat.state) && (stat.threads <= 1 || threadStates(stat.pid).every(held))
}

function isStopped(stat: ProcessStat): boolean {
  return 'TDZt'.includes(stat.state)
}

import type { Timer } from '../clock.ts'
import { type LinkClient, type LinkClientHandlers, readBoot } from '../link/link-client.ts'
import type { ToLauncher, WorkloadCause, WorkloadView } from '../link/link-messages.ts'
import { COLD, describeExit, describeLoss } from '../link/link-messages.ts'
import { Loop } from '../loop.ts'
import { type Log, LogThrottle } from '../observe/log.ts'
import type { ContentWatch } from './content-watch.ts'
import type { AgentOrder, LauncherEffect, LauncherEvent, LauncherRecord } from './launcher-phase.ts'
import { INITIAL_RECORD, viewOf } from './launcher-phase.ts'
import { step } from './launcher-step.ts'
import type { KeptStandby } from './standby/standby.ts'
import { type LauncherMachine, WorkloadProcesses } from './workload-processes.ts'

export interface LauncherOptions {
  /** The version of the LangFlow that it would start now. */
  readonly langflow: () => string | null
  readonly content: (changed: () => void) => Pick<ContentWatch, keyof ContentWatch>
  readonly stopTimeoutMs: number
  readonly alone: boolean
  readonly log: Log
  readonly link: (handlers: LinkClientHandlers) => Pick<LinkClient, 'connected' | 'start' | 'send' | 'close'>
  readonly machine: LauncherMachine
}

/** Messages that count as events. A peer cannot send the launcher's other events. */
const ORDERS = new Set<ToLauncher['type']>(['grant', 'start', 'healthy', 'prepare', 'stop', 'kill'])

/** Passes events to the launcher's step, and carries out the decisions. */
export class Launcher {
  private readonly options: LauncherOptions
  private readonly link: ReturnType<LauncherOptions['link']>
  private readonly content: ReturnType<LauncherOptions['content']>
  private readonly processes: WorkloadProcesses
  private readonly repeats: LogThrottle
  private readonly langflow: string | null // as reported to the agent
  private readonly exit = Promise.withResolvers<number>()
  private readonly loop: Loop<LauncherRecord, LauncherEvent, LauncherEffect>

  private standby: KeptStandby | null = null
  private lock: object | null = null
  private clockTimer: Timer | null = null
  private loggedReason: string | null = null // of the standby

  /** Resolves to the exit code when no process of the workload is alive. */
  readonly ended: Promise<number>

  constructor(options: LauncherOptions) {
    const { log, machine } = options
    this.options = options
    this.loop = new Loop(INITIAL_RECORD, {
      step: (before, event) => step(options, before, event, machine.clock.now()),
      carryOut: (effect) => (this.handlers[effect.type] as (effect: LauncherEffect) => unknown)(effect),
    })
    this.processes = new WorkloadProcesses(machine, (event) => this.dispatch(event))
    this.repeats = new LogThrottle(log, machine.clock)
    this.langflow = options.langflow()
    this.content = options.content(() => this.contentChanged())
    this.link = options.link({
      hello: () => this.hello(),
      received: (message) => this.received(message),
      down: (reason) => {
        this.repeats.happened('link', `no connection to the agent: ${reason}`)
        this.dispatch({ type: 'link down' })
      },
    })
    this.ended = this.exit.promise.then((code) => {
      this.standby?.discard()
      this.content.close()
      this.link.close()
      return code
    })
  }

  start(): void {
    this.link.start()
  }

  dispatch(event: LauncherEvent): void {
    this.loop.dispatch(event)
  }

  // 1. The agent.

  private hello() {
    const { alone, machine } = this.options
    return {
      type: 'hello',
      version: 1,
      pid: process.pid,
      alone,
      mono: machine.clock.mono(),
      clocks: readBoot(machine.clock),
      ...(this.langflow === null ? {} : { langflow: this.langflow }),
      view: this.view(),
    } as const
  }

  private received(message: ToLauncher): void {
    const { clock } = this.options.machine
    if (message.type === 'welcome') this.welcomed(message)
    else if (message.type === 'ping')
      this.link.send({ type: 'pong', id: message.id, clocks: readBoot(clock) })
    else if (message.type === 'measure') this.link.send({ type: 'measured', cpuMs: this.processes.cpuMs() })
    // An older LangFlow destroys a newer one's database. The next launcher reports its version before it starts it.
    if (message.type === 'start' && this.options.langflow() !== this.langflow)
      this.dispatch({ type: 'leave', defect: `LangFlow ${this.langflow ?? ''} was replaced on disk` })
    if (ORDERS.has(message.type)) this.dispatch(message as AgentOrder)
  }

  private welcomed(welcome: Extract<ToLauncher, { type: 'welcome' }>): void {
    const { alone, machine } = this.options
    this.processes.mark = welcome.tree
    this.processes.port = welcome.port
    this.repeats.over('link', 'connected to the agent')
    // Taken before any process is run. If others share the PID namespace, the launcher's death proves nothing.
    if (alone) this.lock ??= machine.lock()
    if (this.lock !== null) this.link.send({ type: 'locked' })
    if (this.loop.state.leaving !== null) this.link.send({ type: 'terminating' })
    if (this.content.found !== null) this.link.send({ type: 'digests', digests: this.content.found })
    this.content.look()
    if (welcome.standby !== 'cold')
      this.standby ??= machine.newStandby(
        () => this.processes.mark,
        welcome.startTimeoutMs,
        () => this.standbyChanged(),
      )
    const remains = !alone && !this.loop.state.met && this.processes.findRemains()
    this.dispatch({ type: 'met', remains })
  }

  private view(record = viewOf(this.loop.state)): WorkloadView {
    const standby = this.loop.state.leaving === null ? this.standby?.view : undefined
    return { ...record, standby: standby ?? COLD }
  }

  private contentChanged(): void {
    const { found } = this.content
    // This comes before the report: a standby that is outdated is not ready.
    if (this.loop.state.phase.name === 'idle') this.standby?.verify()
    if (found !== null) this.link.send({ type: 'digests', digests: found })
  }

  private standbyChanged(): void {
    this.content.look()
    this.report(this.view(), { kind: 'standby' })
  }

  // 2. The effects of decisions.

  private readonly handlers: {
    readonly [Type in LauncherEffect['type']]: (effect: Extract<LauncherEffect, { type: Type }>) => unknown
  } = {
    report: ({ view, cause }) => this.report(this.view(view), cause),
    'check clocks': ({ afterMs }) => this.checkClocks(afterMs),
    'prepare standby': ({ afterMs }) => this.standby?.prepare(afterMs),
    'discard standby': () => this.standby?.discard(),
    prepare: ({ start }) => this.processes.prepare(start, this.standby),
    launch: ({ start, grant }) => {
      this.content.started()
      return this.processes.launch(start, grant)
    },
    'watch serving': ({ pid }) => this.processes.watchServing(pid),
    'check serving': () => this.processes.checkServing(),
    freeze: ({ at }) => this.processes.freeze(at),
    thaw: () => this.processes.thaw(),
    terminate: () => this.processes.terminate(),
    'check stop': ({ start, afterMs }) => this.processes.checkStop(start, afterMs),
    'cut off': () => this.processes.cutOff(),
    kill: ({ afterMs, isUrgent }) => this.processes.kill(afterMs, isUrgent),
    rest: () => {
      this.clockTimer?.cancel()
      this.processes.rest()
      this.content.ended()
    },
    'announce end': ({ defect }) => this.announceEnd(defect),
    exit: ({ code }) => this.exit.resolve(code),
  }

  private checkClocks(afterMs: number): void {
    this.clockTimer?.cancel()
    this.clockTimer = this.options.machine.clock.after(afterMs, () => this.dispatch({ type: 'clock' }))
  }

  private report(view: WorkloadView, cause: WorkloadCause): void {
    const { log } = this.options
    logCause(log, this.repeats, view, cause)
    const { reason } = view.standby
    if (reason !== null && reason !== this.loggedReason) {
      log.warn(reason)
      this.loggedReason = reason
    }
    this.link.send({ type: 'workload', view, cause })
  }

  private announceEnd(defect: string | null): void {
    if (defect !== null)
      this.options.log.error(`${defect}: the launcher ends, so that its container restarts`)
    if (this.link.connected) this.link.send({ type: 'terminating' })
    else this.dispatch({ type: 'link down' })
  }
}

function logCause(log: Log, repeats: LogThrottle, view: WorkloadView, cause: WorkloadCause) {
  const about = { epoch: view.epoch ?? 0, identity: view.identity ?? '' }
  switch (cause.kind) {
    case 'started':
      return log.event('workload_started', { ...about, pid: view.pid })
    case 'start_refused':
      return log.error(`LangFlow was not started: ${cause.reason}`, about)
    case 'exited':
      return log.warn(describeExit(cause), { ...about, exitCode: cause.code, signal: cause.signal })
    case 'serving_lost':
      return log.warn(describeLoss(cause.loss), about)
    case 'frozen':
      return log.event('workload_frozen', about)
    case 'thawed':
      return log.event('workload_thawed', about)
    case 'stopped':
    case 'killed': {
      const reason = cause.kind === 'stopped' ? 'SIGTERM' : 'SIGKILL'
      return log.event('workload_stopped', { ...about, reason, durationMs: Math.round(cause.durationMs) })
    }
    case 'deadman':
      return log.event('deadman_fired', { ...about, reason: cause.reason, code: 'deadman' })
    case 'stop_failed':
      return log.error(`ALARM: LangFlow could not be stopped: ${cause.reason}`, about)
    case 'grant_refused':
      return repeats.happened('grant', `refused a grant: ${cause.reason}`, about)
    case 'grant_accepted':
      return repeats.over('grant', 'grants are accepted again', about)
  }
}

import { type LinkClient, type LinkClientHandlers, readBoot } from '../link/link-client.ts'
import {
  type Digests,
  describeExit,
  describeLoss,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadView,
} from '../link/link-messages.ts'
import { type Log, LogThrottle } from '../observe/log.ts'
import type { ProcessTree } from '../processes/process-tree.ts'
import type { DigestWatch } from './flow-digests.ts'
import { Launcher, type LauncherMachine } from './launcher.ts'
import type { Standby } from './standby/kept-standby.ts'

type Welcome = Extract<ToLauncher, { type: 'welcome' }>

export interface LauncherServiceOptions {
  readonly command: readonly string[]
  /** The version of the LangFlow that it would start now; `null`: unknown. */
  readonly langflow: () => string | null
  /** Looks at what replicas must have alike, and tells what it finds. */
  readonly digests: (changed: (digests: Digests) => void) => Pick<DigestWatch, 'found' | 'look' | 'close'>
  /** From SIGTERM to SIGKILL, where no agent is there to decide. */
  readonly stopTimeoutMs: number
  readonly alone: boolean
  readonly log: Log
  readonly link: (handlers: LinkClientHandlers) => Pick<LinkClient, 'connected' | 'start' | 'send' | 'close'>
  readonly machine: Omit<LauncherMachine, 'tree' | 'standby'> & {
    tree(mark: string): ProcessTree
    /** What starts go on from; `changed`: it is another one now. */
    newStandby(mark: () => string, welcome: Welcome, changed: () => void): Standby
    /** Takes the lock by which this launcher's death is proven, and keeps it with what is returned; `null`: it can't have it. */
    lock(): object | null
    /** How many processes have ended that nobody will ever reap. */
    unreaped(): number
  }
}

export interface LauncherService {
  /** It was asked to end (SIGTERM): it does once the agent has had the workload stopped. */
  terminate(): void
  /** The agent that it goes with is gone: it ends, and the workload at once. */
  orphaned(): void
  /** The exit code, once nothing of the workload lives. */
  readonly ended: Promise<number>
}

/** Each kill leaves a handful, and a whole container may have a thousand. */
const MOST_UNREAPED = 100

/** Runs a launcher on its link until it is told to end. */
export function serveLauncher(options: LauncherServiceOptions): LauncherService {
  const { alone, log, machine, stopTimeoutMs } = options
  const { clock } = machine
  let mark = ''
  let ending = false
  let lock = null as object | null
  let standby = null as Standby | null
  const repeats = new LogThrottle(log, clock)
  let exitCode = 0
  let toldReason = null as string | null
  const ended = Promise.withResolvers<number>()

  const finishIfIdle = (view: WorkloadView) => {
    if (ending && view.state === 'idle') ended.resolve(exitCode)
  }
  /** The whole container is to be made anew, as soon as nothing runs. */
  const wearOut = (reason: string) => {
    if (ending) return
    log.error(`${reason}: the launcher ends, so that its container is started again`)
    exitCode = 1
    terminate()
  }
  const langflow = options.langflow()
  /**
   * Whether the LangFlow on the disk is another one than its agent was told of, as after `pip install`. Then the launcher ends: the
   * next one tells the agent the version, and the election decides whether it may start.
   */
  const isReplaced = (): boolean => {
    const found = options.langflow()
    if (found === langflow) return false
    const [old, now] = [langflow ?? 'of unknown version', found ?? 'one of unknown version']
    wearOut(`LangFlow ${old} was replaced by ${now}`)
    return true
  }
  const digests = options.digests((digests) => link.send({ type: 'digests', digests }))
  const standbyChanged = () => {
    digests.look()
    // It is given up where what it has read has changed.
    if (!ending && launcher.view().state === 'idle') isReplaced()
    launcher.standbyChanged()
  }
  const launcher = new Launcher(
    options.command,
    { ...machine, tree: () => machine.tree(mark), standby: () => (ending ? null : standby) },
    (view, cause) => {
      report(log, repeats, view, cause)
      const { reason } = view.standby
      if (reason !== null && reason !== toldReason) log.warn(reason)
      toldReason = reason
      // Before the agent can order the next start.
      const unreaped = view.state === 'idle' && alone ? machine.unreaped() : 0
      if (unreaped > MOST_UNREAPED) wearOut(`${unreaped} processes have ended that nobody reaps`)
      link.send({ type: 'workload', view, cause })
      if (cause.kind === 'exited' && cause.unreaped) wearOut('nobody reaps what LangFlow leaves any more')
      finishIfIdle(view)
    },
  )
  const link = options.link({
    hello: () => ({
      type: 'hello',
      version: 1,
      pid: process.pid,
      alone,
      mono: clock.mono(),
      clocks: readBoot(clock),
      ...(langflow === null ? {} : { langflow }),
      view: launcher.view(),
    }),
    received(message) {
      if (message.type === 'welcome') {
        mark = message.tree
        log.info('connected to the agent')
        // Before anything is run. If others share its PID namespace, its death proves nothing.
        if (alone) lock ??= machine.lock()
        if (lock !== null) link.send({ type: 'locked' })
        if (ending) link.send({ type: 'terminating' })
        if (digests.found !== null) link.send({ type: 'digests', digests: digests.found })
        digests.look()
        if (message.standby !== 'cold') standby ??= machine.newStandby(() => mark, message, standbyChanged)
        launcher.meet(message.port, alone ? null : machine.tree(mark))
      } else if (message.type === 'ping') {
        link.send({ type: 'pong', id: message.id, clocks: readBoot(clock) })
      } else if (message.type === 'start' && (ending || isReplaced())) {
        const cause = { kind: 'start_refused', reason: 'the launcher is ending' } as const
        link.send({ type: 'workload', view: launcher.view(), cause })
      } else {
        launcher.receive(message)
        if (message.type === 'start') digests.look()
      }
    },
    down(reason) {
      log.warn(`no agent: ${reason}`)
      // Without an agent nobody can drain and hand over; the deadman would come to the same end, later.
      if (ending) launcher.stop(stopTimeoutMs)
    },
  })
  const terminate = () => {
    if (ending) return
    ending = true
    if (link.connected) link.send({ type: 'terminating' })
    if (launcher.view().state === 'idle') finishIfIdle(launcher.view())
    else if (!link.connected) launcher.stop(stopTimeoutMs)
  }
  link.start()
  return {
    terminate,
    orphaned() {
      ending = true
      launcher.kill()
      finishIfIdle(launcher.view())
    },
    ended: ended.promise.then((code) => {
      standby?.discard()
      digests.close()
      link.close()
      return code
    }),
  }
}

function report(log: Log, repeats: LogThrottle, view: WorkloadView, cause: WorkloadCause) {
  const about = { epoch: view.epoch ?? 0, identity: view.identity ?? '' }
  switch (cause.kind) {
    case 'started':
      return log.event('workload_started', { ...about, pid: view.pid })
    case 'start_refused':
      return log.error(`LangFlow was not started: ${cause.reason}`, about)
    case 'exited':
      return log.warn(describeExit(cause), { ...about, exitCode: cause.code, signal: cause.signal })
    case 'bereft':
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
      return log.error(`ALARM: the workload lives on: ${cause.reason}`, about)
    case 'grant_refused':
      return repeats.happened('grant', `refused a grant: ${cause.reason}`, about)
    case 'grant_accepted':
      return repeats.over('grant', 'a grant is accepted again', about)
    case 'met':
    case 'standby':
    case 'nothing':
    case 'stopping':
  }
}

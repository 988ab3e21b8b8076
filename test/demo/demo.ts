import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { styleText } from 'node:util'
import { systemClock } from '../../agent/clock.ts'
import { flagOf } from '../../agent/config/setting.ts'
import { formatDuration, readable, seconds } from '../../agent/config/values.ts'
import { FatalError } from '../../agent/exit.ts'
import { kubeconfigFor, LeaseServer } from '../harness/api/api-server.ts'
import { type PlayedPod, servePods } from '../harness/api/pods.ts'
import { ask } from '../harness/ask.ts'
import { actingIntervals, type Beat, overlapMs, RHYTHMS, readBeats } from './beats.ts'
import { EVERY_MS, repeat, SteadyClient } from './client.ts'
import { Entrance, type Place, REPLICA_HEADER } from './entrance.ts'
import { findPlaces, langflowEnvironment, Replica, type ReplicaEvent } from './replica.ts'
import { guideOf, type Result, reportOf, type Stage, sentenceOf } from './report.ts'
import type { DemoOptions } from './settings.ts'
import { FAULTS, KINDS, recover, type Takeover, takeOver } from './takeover.ts'
import { PRODUCT, scriptCommand, Workspace } from './workspace.ts'

const NAMES = ['replica-a', 'replica-b', 'replica-c']
const LEASE = { name: 'langflow-leader-lock', namespace: 'default' }

/** A stand-in is up within a second; a busy machine may need longer. */
const STAND_IN_SERVES_WITHIN_MS = 60_000
/** As `--start-timeout`. */
const COMMAND_SERVES_WITHIN_MS = 600_000
/** What a planned handover takes at most by default, drain and stop, and then some. */
const HANDOVER_WITHIN_MS = 60_000
/** How long the new leader is watched before the lost replica comes back and might hide that it still acts. */
const WATCH_MS = 1_000
/** So many leaders in a row that could not run the workload: each replica had its try. */
const HOPELESS = 3
/** What a ReplicaSet and a kubelet need for the next pod. */
const NEXT_POD_MS = 2_000
/** How often it is looked at what is awaited; no measure depends on it. */
const LOOK_EVERY_MS = 10

/** The user, or the system, ended the demo. */
class Interruption extends Error {
  /** As a shell tells it. */
  readonly exitCode: number
  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'SIGPIPE') {
    super(`ended by ${signal}`)
    this.exitCode = 128 + constants.signals[signal]
  }
}

/**
 * Shows three takeovers, each of a kind, and measures them; with `--stay` it has none of its own. Resolves to the exit code; rejects with a `FatalError` that
 * says what went wrong and where the logs are. Whatever happens, nothing but those logs is left.
 */
export async function runDemo(options: DemoOptions, env: NodeJS.ProcessEnv): Promise<number> {
  const stream = options.json ? process.stderr : process.stdout
  const demo = new Demo(options, env, stream)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => demo.end(new Interruption(signal)))
  // What is written later must not end the process before everything is cleared up.
  for (const one of new Set([stream, process.stdout]))
    one.on('error', () => demo.end(new Interruption('SIGPIPE')))
  try {
    const result = await demo.run()
    stream.write(`\n${reportOf(result, stream)}\n`)
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`)
    if (result.ok) return 0
    throw new FatalError(
      `two replicas acted at once for ${readable(result.overlapMs)}: see the logs in ${result.logs}`,
    )
  } catch (error) {
    if (!(error instanceof Interruption)) throw error
    process.stderr.write(`${error.message}: all that was started has ended, nothing is left\n`)
    return error.exitCode
  }
}

/** Three replicas of one Lease behind an entrance that a client asks; and what happened so far. */
export class Demo {
  readonly client: SteadyClient
  /** In the order in which they were heard. */
  readonly events: ReplicaEvent[] = []
  /** How long the Lease, and then the workload, may need, in milliseconds. */
  readonly acquireWithinMs: number
  readonly serveWithinMs: number
  readonly #options: DemoOptions
  readonly #env: NodeJS.ProcessEnv
  readonly #stream: NodeJS.WriteStream
  readonly #entrance = new Entrance()
  readonly #api: LeaseServer
  readonly #replicas = new Map<string, Replica>()
  readonly #takeovers: Takeover[] = []
  readonly #abort = new AbortController()
  readonly #began = systemClock.mono()
  /** Whether the small stand-in is elected, and no command of the user's. */
  readonly #standIn: boolean
  /** Answers of the workloads' ports, past every gate: who answers acts. */
  readonly #answers: Beat[] = []
  /** Leaders in a row that gave up before they served. */
  #givenUp = 0

  constructor(options: DemoOptions, env: NodeJS.ProcessEnv, stream: NodeJS.WriteStream) {
    this.#options = options
    this.#env = env
    this.#stream = stream
    this.#standIn = options.command === null
    const pods = servePods(LEASE.name, () => this.#pods())
    this.#api = new LeaseServer(systemClock, options.stay ? pods : undefined)
    this.client = new SteadyClient(({ headers, body }) =>
      this.#standIn ? JSON.parse(body).replica : headers[REPLICA_HEADER],
    )
    this.acquireWithinMs = 2 * options.timings.leaseDurationMs + HANDOVER_WITHIN_MS
    this.serveWithinMs = this.#standIn ? STAND_IN_SERVES_WITHIN_MS : COMMAND_SERVES_WITHIN_MS
  }

  /** All of it; settles once nothing of it lives. */
  async run(): Promise<Result> {
    let workspace: Workspace | null = null
    let keepLogs = false
    try {
      const places = await findPlaces(NAMES)
      await this.#entrance.open(this.#options.listen, places, this.#abort.signal)
      await this.#api.listen()
      workspace = new Workspace(NAMES)
      this.#start(workspace, places)
      this.#stream.write(this.#title())
      const leader = await this.#allUp()
      if (this.#options.stay) await this.#stay(workspace, places)
      await this.#play(leader)
      const result = this.#result(workspace)
      keepLogs = !result.ok
      return result
    } catch (error) {
      if (!(error instanceof FatalError) || workspace === null) throw error
      keepLogs = true
      throw new FatalError(`${error.message}: see the logs in ${workspace.logs}`, { cause: error })
    } finally {
      this.#abort.abort()
      for (const replica of this.#replicas.values()) replica.dismiss()
      this.#entrance.close()
      await workspace?.leave(keepLogs)
      await this.#api.close()
    }
  }

  /** Ends what is under way, for this reason. */
  end(why: Error): void {
    this.#abort.abort(why)
  }

  /** The first answer of `look` that is one. Rejects with a `FatalError` after `withinMs`. */
  async until<T>(what: string, withinMs: number, look: () => T | false | null | undefined): Promise<T> {
    const deadline = systemClock.mono() + withinMs
    for (;;) {
      this.#abort.signal.throwIfAborted()
      const found = look()
      if (found) return found
      if (systemClock.mono() >= deadline)
        throw new FatalError(`waited ${formatDuration(withinMs)} in vain for ${what}`)
      await sleep(LOOK_EVERY_MS)
    }
  }

  #start(workspace: Workspace, places: readonly Place[]): void {
    const { timings, command, stay } = this.#options
    // Where nobody judges them in the end they would only fill the disk.
    const beats = stay ? [] : [beatsIn(workspace)]
    // Made beforehand, so that the first start need not wait out a whole lease duration.
    this.#api.put({ metadata: LEASE })
    const kubeconfig = kubeconfigIn(workspace)
    writeFileSync(kubeconfig, kubeconfigFor(this.#api.url), { mode: 0o600 })
    mkdirSync(beatsIn(workspace))
    const flags = [
      `--kubeconfig=${kubeconfig}`,
      `--lease-namespace=${LEASE.namespace}`,
      `--lease-name=${LEASE.name}`,
      `--peers=${places.map(({ agentPort }) => `127.0.0.1:${agentPort}`)}`,
      ...Object.entries(timings).map(([timing, ms]) => `${flagOf(timing)}=${formatDuration(ms)}`),
    ]
    // This program's own settings are for the demo and not for its replicas.
    const env = Object.fromEntries(Object.entries(this.#env).filter(([name]) => !name.startsWith('LEADER_')))
    for (const place of places) {
      const home = join(workspace.dir, place.name)
      mkdirSync(home)
      const replica: Replica = new Replica({
        place,
        workspace,
        flags,
        command: command ?? scriptCommand('workload.ts', String(place.port), ...beats),
        env: this.#standIn ? env : langflowEnvironment(env, place.port, home),
        heard: (event) => this.#heard(event),
        ended: (how, expected) => void this.#ended(replica, how, expected),
      })
      this.#replicas.set(place.name, replica)
      replica.start()
      if (!this.#standIn && !stay) this.#askPort(place)
    }
  }

  /** Resolves to the first leader, once the others stand by. */
  async #allUp(): Promise<string> {
    const { events, acquireWithinMs, serveWithinMs } = this
    const { replica: leader } = await this.until('the first leader to serve', serveWithinMs, () =>
      events.find(({ event, replica }) => event === 'serving' && this.#entrance.isOpenTo(replica)),
    )
    await this.until('all three replicas', acquireWithinMs, () =>
      NAMES.every(
        (name) =>
          name === leader ||
          events.some(({ replica, event }) => replica === name && event === 'standby_ready'),
      ),
    )
    return leader
  }

  /** Says how it can be operated; rejects once something ends it. */
  async #stay(workspace: Workspace, places: readonly Place[]): Promise<never> {
    const stage: Stage = {
      kubeconfig: kubeconfigIn(workspace),
      entrance: this.#entrance.url,
      agents: Object.fromEntries(
        places.map(({ name, agentPort }) => [name, `http://127.0.0.1:${agentPort}`]),
      ),
    }
    this.#stream.write(`\n${guideOf(stage, typed(PRODUCT))}\n\n`)
    if (this.#options.json) process.stdout.write(`${JSON.stringify(stage)}\n`)
    const { signal } = this.#abort
    if (!signal.aborted) await once(signal, 'abort')
    throw signal.reason
  }

  #pods(): PlayedPod[] {
    return [...this.#replicas.values()].map((replica) => ({
      ...replica.place,
      ...replica.born,
      runs: replica.runs,
      ready: this.#entrance.isOpenTo(replica.name),
      delete: (force) => void (force ? replica.crash() : replica.stop()),
    }))
  }

  /** Where the demo stays the next pod comes a moment later, as in a cluster. */
  async #ended(replica: Replica, how: string, expected: boolean): Promise<void> {
    const { signal } = this.#abort
    if (!this.#options.stay) {
      if (!expected) this.end(new FatalError(`${replica.name} ended by itself (${how})`))
      return
    }
    this.#tell(`ended (${how}); it comes back`, replica.name)
    await sleep(NEXT_POD_MS, undefined, { signal }).catch(() => {})
    if (!signal.aborted) replica.start()
  }

  /** One takeover after the other. */
  async #play(first: string): Promise<void> {
    const { client, acquireWithinMs, serveWithinMs } = this
    const entrance = this.#entrance
    let leader = first
    client.start(this.#standIn ? entrance.url : `${entrance.url}/health`, this.#abort.signal)
    for (const [n, kind] of KINDS.entries()) {
      await this.until(`the client to be answered by ${leader}`, serveWithinMs, () =>
        client.requests.findLast(({ replica }) => replica === leader),
      )
      this.#stream.write('\n')
      this.#tell(`${n + 1} of ${KINDS.length}: ${kind} of ${leader}: ${FAULTS[kind]}`)
      const replica = this.#replicas.get(leader)!
      const takeover = await takeOver(kind, replica, this)
      this.#takeovers.push(takeover)
      const { to, gapMs } = takeover
      this.#tell(`${to} has taken over; the client was without answers for ${readable(gapMs)}`)
      const watchedSince = systemClock.mono()
      await this.until(
        'whether the old workload still acts',
        acquireWithinMs,
        () => systemClock.mono() - watchedSince >= WATCH_MS,
      )
      await recover(takeover, replica, this)
      leader = to
    }
  }

  #heard(happened: ReplicaEvent): void {
    const { replica, event, reason } = happened
    this.events.push(happened)
    const sentence = sentenceOf(happened)
    if (sentence !== null) this.#tell(sentence, replica)
    if (event === 'serving') this.#givenUp = 0
    if (event !== 'stepped_down' || ++this.#givenUp < HOPELESS) return
    const hopeless = `${HOPELESS} leaders in a row could not run the workload, the last one because ${reason}`
    this.end(new FatalError(hopeless))
  }

  #title(): string {
    const { command, timings } = this.#options
    const workload = command?.join(' ') ?? 'a small stand-in for LangFlow'
    const { leaseDurationMs, renewDeadlineMs, retryPeriodMs } = timings
    const lease = [leaseDurationMs, renewDeadlineMs, retryPeriodMs].map(formatDuration).join(' / ')
    const client = this.#options.stay ? '' : `; a client asks it each ${EVERY_MS} ms`
    return (
      `demo: three replicas of ${workload}, one Lease (${lease})\n` +
      `entrance ${this.#entrance.url}, which follows the gates${client}\n\n`
    )
  }

  #tell(text: string, replica: string | null = null): void {
    const stream = this.#stream
    const at = styleText('dim', seconds(this.#elapsedMs()).padStart(8), { stream })
    const told = replica === null ? styleText('bold', text, { stream }) : `  ${replica}  ${text}`
    stream.write(`${at}  ${told}\n`)
  }

  #elapsedMs(): number {
    return systemClock.mono() - this.#began
  }

  #askPort({ name, port }: Place): void {
    const { periodMs, silenceMs } = RHYTHMS.answers
    void repeat(periodMs, this.#abort.signal, async () => {
      const answer = await ask(`http://127.0.0.1:${port}/health`, silenceMs).catch(() => null)
      if (answer !== null) this.#answers.push({ actor: name, at: systemClock.mono() })
    })
  }

  #result(workspace: Workspace): Result {
    const overlapFrom = this.#standIn ? 'beats' : 'answers'
    const signs = this.#standIn ? this.#beats(workspace) : this.#answers
    // Never rounds down to nothing.
    const overlap = Math.ceil(overlapMs(actingIntervals(signs, RHYTHMS[overlapFrom])))
    return {
      ok: overlap === 0,
      takeovers: this.#takeovers,
      overlapMs: overlap,
      overlapFrom,
      samples: signs.length,
      requests: { sent: this.client.requests.length, failed: this.client.failed },
      timings: this.#options.timings,
      elapsedMs: Math.round(this.#elapsedMs()),
      logs: overlap === 0 ? null : workspace.logs,
    }
  }

  /** Throws a `FatalError` where a term left no beats, since an overlap of 0 ms would then prove nothing. */
  #beats(workspace: Workspace): Beat[] {
    const beats = readBeats(beatsIn(workspace))
    const actors = [...new Set(beats.map(({ actor }) => actor))]
    for (const { event, replica, epoch } of this.events) {
      if (event === 'serving' && !actors.some((actor) => actor.startsWith(`${replica}.${epoch}.`)))
        throw new FatalError(`the workload of ${replica} left no beats in epoch ${epoch}`)
    }
    return beats
  }
}

/** A command as people type it from where they are. */
function typed(command: readonly string[]): string {
  const paths = command.map((path) => {
    const near = relative(process.cwd(), path)
    return near.startsWith('..') ? path : near
  })
  return paths.join(' ')
}

function kubeconfigIn(workspace: Workspace): string {
  return join(workspace.dir, 'kubeconfig')
}

/** Where the stand-ins write their beats: with the logs, since both are evidence. */
function beatsIn(workspace: Workspace): string {
  return join(workspace.logs, 'beats')
}

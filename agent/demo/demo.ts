import { mkdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { type Clock, pause } from '../clock.ts'
import { formatDuration } from '../config/values.ts'
import { FatalError } from '../exit.ts'
import { kubeconfigFor, LeaseServer } from './api-server.ts'
import { ask, repeat, SteadyClient } from './client.ts'
import { FrontDoor, type Place, REPLICA_HEADER } from './front-door.ts'
import { actingIntervals, type Beat, overlapMs, RHYTHMS } from './overlap.ts'
import { findPlaces, langflowEnvironment, Replica, type ReplicaEvent } from './replica.ts'
import type { DemoOptions } from './settings.ts'
import { readBeats } from './stand-in.ts'
import { FAULTS, KINDS, recover, type Takeover, takeOver } from './takeover.ts'
import { type Result, readable, sentenceOf, show, type Told } from './view.ts'
import { selfCommand, Workspace } from './workspace.ts'

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
 * Shows three takeovers, each of a kind, and measures them. Resolves to the exit code; rejects with a `FatalError` that
 * says what went wrong and where the logs are. Whatever happens, nothing but those logs is left.
 */
export async function runDemo(options: DemoOptions, env: NodeJS.ProcessEnv, clock: Clock): Promise<number> {
  const stream = options.json ? process.stderr : process.stdout
  const demo = new Demo(await findPlaces(NAMES), options, env, clock)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => demo.end(new Interruption(signal)))
  // What is written later must not end the process before everything is cleared up.
  stream.on('error', () => demo.end(new Interruption('SIGPIPE')))
  let shown: ReturnType<typeof show> = () => {}
  try {
    const result = await demo.run(() => {
      shown = show(demo, stream)
    })
    shown(result)
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`)
    if (result.ok) return 0
    throw new FatalError(
      `two replicas acted at once for ${readable(result.overlapMs)}: see the logs in ${result.logs}`,
    )
  } catch (error) {
    shown(null)
    if (!(error instanceof Interruption)) throw error
    process.stderr.write(`${error.message}: all that was started has ended, nothing is left\n`)
    return error.exitCode
  }
}

/** Three replicas of one Lease behind a front door that a client asks; and what happened so far. */
export class Demo {
  readonly options: DemoOptions
  readonly clock: Clock
  readonly door: FrontDoor
  readonly client: SteadyClient
  readonly replicas = new Map<string, Replica>()
  /** In the order in which they were heard. */
  readonly events: ReplicaEvent[] = []
  readonly takeovers: Takeover[] = []
  readonly told: Told[] = []
  onTold: (told: Told) => void = () => {}
  /** What is under way, as one sentence. */
  doing = 'starting'
  /** How long the Lease, and then the workload, may need. */
  readonly acquireWithinMs: number
  readonly serveWithinMs: number
  readonly #places: readonly Place[]
  readonly #env: NodeJS.ProcessEnv
  readonly #api: LeaseServer
  readonly #abort = new AbortController()
  readonly #began: number
  /** Whether the small stand-in is elected, and no command of the user's. */
  readonly #standIn: boolean
  /** Answers of the workloads' ports, past every gate: who answers acts. */
  readonly #answers: Beat[] = []
  #stops: (() => void)[] = []
  /** Leaders in a row that gave up before they served. */
  #givenUp = 0

  constructor(places: readonly Place[], options: DemoOptions, env: NodeJS.ProcessEnv, clock: Clock) {
    this.options = options
    this.clock = clock
    this.#places = places
    this.#env = env
    this.#began = clock.mono()
    this.#standIn = options.command === null
    this.#api = new LeaseServer(clock)
    this.door = new FrontDoor(places, clock)
    this.client = new SteadyClient(clock, ({ headers, body }) =>
      this.#standIn ? JSON.parse(body).replica : headers[REPLICA_HEADER],
    )
    this.acquireWithinMs = 2 * options.leaseDurationMs + HANDOVER_WITHIN_MS
    this.serveWithinMs = this.#standIn ? STAND_IN_SERVES_WITHIN_MS : COMMAND_SERVES_WITHIN_MS
  }

  /** All of it. Calls `began` once there is something to see; settles once nothing of it lives. */
  async run(began: () => void): Promise<Result> {
    let workspace: Workspace | null = null
    let keepLogs = false
    try {
      await this.door.open(this.options.listen)
      await this.#api.listen()
      workspace = new Workspace(NAMES, this.clock)
      this.#start(workspace)
      began()
      await this.#play()
      const result = this.#result(workspace)
      keepLogs = !result.ok
      return result
    } catch (error) {
      if (!(error instanceof FatalError) || workspace === null) throw error
      keepLogs = true
      throw new FatalError(`${error.message}: see the logs in ${workspace.logs}`, { cause: error })
    } finally {
      this.doing = 'clearing up'
      this.client.stop()
      for (const stop of this.#stops) stop()
      for (const replica of this.replicas.values()) replica.dismiss()
      this.door.close()
      await workspace?.leave(keepLogs)
      await this.#api.close()
    }
  }

  /** Ends what is under way, for this reason. */
  end(why: Error): void {
    this.#abort.abort(why)
  }

  get elapsedMs(): number {
    return this.clock.mono() - this.#began
  }

  #start(workspace: Workspace): void {
    const { options, clock } = this
    // Made beforehand, so that the first start need not wait out a whole lease duration.
    this.#api.put({ metadata: LEASE })
    const kubeconfig = join(workspace.dir, 'kubeconfig')
    writeFileSync(kubeconfig, kubeconfigFor(this.#api.url))
    mkdirSync(beatsIn(workspace))
    const flags = [
      `--kubeconfig=${kubeconfig}`,
      `--lease-namespace=${LEASE.namespace}`,
      `--lease-name=${LEASE.name}`,
      `--lease-duration=${formatDuration(options.leaseDurationMs)}`,
      `--renew-deadline=${formatDuration(options.renewDeadlineMs)}`,
      `--retry-period=${formatDuration(options.retryPeriodMs)}`,
      `--kill-margin=${formatDuration(options.killMarginMs)}`,
    ]
    // This program's own settings are for the demo and not for its replicas.
    const env = Object.fromEntries(Object.entries(this.#env).filter(([name]) => !name.startsWith('LEADER_')))
    for (const place of this.#places) {
      const home = join(workspace.dir, place.name)
      mkdirSync(home)
      const replica = new Replica({
        place,
        workspace,
        flags,
        command: options.command ?? selfCommand('demo-workload', String(place.port), beatsIn(workspace)),
        env: this.#standIn ? env : langflowEnvironment(env, place.port, home),
        clock,
        heard: (event) => this.#heard(event),
        failed: (sentence) => this.end(new FatalError(sentence)),
      })
      this.replicas.set(place.name, replica)
      replica.start()
    }
    if (!this.#standIn) this.#stops = this.#places.map((place) => this.#askPort(place))
  }

  /** The first leader, and then one takeover after the other. */
  async #play(): Promise<void> {
    const { client, door, replicas, acquireWithinMs, serveWithinMs } = this
    let { replica: leader } = await this.until('the first leader to serve', serveWithinMs, () =>
      this.events.find(({ event }) => event === 'serving'),
    )
    await this.until('the front door to open', acquireWithinMs, () => door.isOpenTo(leader) || null)
    client.start(this.#standIn ? door.url : `${door.url}/health`)
    const states = () => [...replicas.values()].map(({ state }) => state)
    await this.until(
      'all three replicas',
      acquireWithinMs,
      () => states().every(({ role, standby }) => role === 'leader' || standby) || null,
    )
    for (const [n, kind] of KINDS.entries()) {
      await this.until(`the client to be answered by ${leader}`, serveWithinMs, () =>
        client.requests.findLast(({ replica }) => replica === leader),
      )
      this.#tell(`${n + 1} of ${KINDS.length}: ${kind} of ${leader}: ${FAULTS[kind]}`, null, true)
      const replica = replicas.get(leader)!
      const takeover = await takeOver(kind, replica, this)
      this.takeovers.push(takeover)
      const { to, gapMs } = takeover
      this.#tell(`${to} has taken over; the client was without answers for ${readable(gapMs)}`)
      const since = this.clock.mono()
      await this.until('whether the old workload still acts', acquireWithinMs, () =>
        this.clock.mono() - since >= WATCH_MS ? true : null,
      )
      await recover(takeover, replica, this)
      leader = to
    }
    client.stop()
  }

  /** The first answer of `look` other than `undefined` and `null`. Rejects with a `FatalError` after `withinMs`. */
  async until<T>(what: string, withinMs: number, look: () => T | null | undefined): Promise<T> {
    this.doing = `waiting for ${what}`
    const deadline = this.clock.mono() + withinMs
    for (;;) {
      this.#abort.signal.throwIfAborted()
      const found = look()
      if (found !== undefined && found !== null) return found
      if (this.clock.mono() >= deadline)
        throw new FatalError(`waited ${formatDuration(withinMs)} in vain for ${what}`)
      await pause(this.clock, LOOK_EVERY_MS)
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

  #tell(text: string, replica: string | null = null, heading = false): void {
    const told = { atMs: this.elapsedMs, replica, text, heading }
    this.told.push(told)
    this.onTold(told)
  }

  #askPort({ name, port }: Place): () => void {
    const { periodMs, silenceMs } = RHYTHMS.answers
    return repeat(this.clock, periodMs, async () => {
      const asked = ask(this.clock, `http://127.0.0.1:${port}/health`, silenceMs)
      if (await asked.catch(() => null)) this.#answers.push({ actor: name, at: this.clock.mono() })
    })
  }

  #result(workspace: Workspace): Result {
    const { client, takeovers, options } = this
    const overlapFrom = this.#standIn ? 'beats' : 'answers'
    const signs = this.#standIn ? this.#beats(workspace) : this.#answers
    // Never rounds down to nothing.
    const overlap = Math.ceil(overlapMs(actingIntervals(signs, RHYTHMS[overlapFrom])))
    const { leaseDurationMs, renewDeadlineMs, retryPeriodMs, killMarginMs } = options
    return {
      ok: overlap === 0,
      takeovers,
      overlapMs: overlap,
      overlapFrom,
      samples: signs.length,
      requests: { sent: client.requests.length, failed: client.failed },
      timings: { leaseDurationMs, renewDeadlineMs, retryPeriodMs, killMarginMs },
      elapsedMs: Math.round(this.elapsedMs),
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

/** Where the stand-ins write their beats: with the logs, since both are evidence. */
function beatsIn(workspace: Workspace): string {
  return join(workspace.logs, 'beats')
}

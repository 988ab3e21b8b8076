import { once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { styleText } from 'node:util'
import { systemClock } from '../../agent/clock.ts'
import { shortDuration } from '../../agent/config/values.ts'
import { FatalError } from '../../agent/exit.ts'
import { kubeconfigFor, LeaseServer } from '../harness/api/api-server.ts'
import { servePods } from '../harness/api/pods.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { Client } from '../harness/client.ts'
import { lateBeats, overlapMs, readBeats } from '../harness/judge.ts'
import type { Line } from '../harness/logged-process.ts'
import { Guard } from '../harness/server-process.ts'
import { mono, until } from '../harness/wait.ts'
import { DemoReplica } from './replica.ts'
import { eventOf, guideOf, type Result, reportOf, type Stage } from './report.ts'
import { type Answer, FAULTS, type Kind, recover, type Takeover, takeOver } from './takeover.ts'

const NAMES = ['replica-a', 'replica-b', 'replica-c']
const LEASE = 'langflow-leader-lock'
const FAST = ['--lease-duration=7s', '--renew-deadline=4s', '--retry-period=500ms', '--kill-margin=2s']

const EVERY_MS = 50
/** Longer than any takeover, so that a request in a front's hold doesn't fail. */
const PATIENCE_MS = 60_000
/** Number of answers before the first fault. */
const ANSWERS = 10
const PROBE_MS = 50
/** Time to watch the new leader before the old one is brought back. */
const WATCH_MS = 1_000
/** The time that a ReplicaSet and a kubelet need for a new pod. */
const NEXT_POD_MS = 2_000

interface DemoOptions {
  readonly json: boolean
  readonly stay: boolean
  readonly fast: boolean
}

/** The error that ends the demo after a signal. */
class Interruption extends Error {
  readonly exitCode: number
  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'SIGPIPE') {
    super(`ended by ${signal}`)
    this.exitCode = 128 + constants.signals[signal]
  }
}

/** Resolves to the exit code. No process is left, in any case; after a failure, the logs are kept. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const stream = options.json ? process.stderr : process.stdout
  const demo = new Demo(options, stream)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => demo.end(new Interruption(signal)))
  // If the reader of the output closes its pipe, this process must still clean up.
  for (const one of [process.stdout, process.stderr])
    one.on('error', () => demo.end(new Interruption('SIGPIPE')))
  try {
    const result = await demo.run()
    stream.write(`\n${reportOf(result, stream)}\n`)
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`)
    return 0
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return error instanceof Interruption ? error.exitCode : 1
  }
}

class Demo {
  readonly #options: DemoOptions
  readonly #stream: NodeJS.WriteStream
  readonly #dir = mkdtempSync(join(tmpdir(), 'langflow-leader-demo-'))
  /** Ends the replicas when this program ends, even if it is killed. Their launchers and fronts end by themselves. */
  readonly #guard = new Guard(this.#dir)
  readonly #beats: string
  readonly #kubeconfig: string
  readonly #replicas: DemoReplica[] = []
  readonly #abort = new AbortController()
  readonly #began = mono()
  readonly #api = new LeaseServer(
    systemClock,
    servePods(LEASE, () =>
      this.#replicas.map((one) => ({
        ...{ name: one.name, ...one.pod, runs: one.runs, ready: one.runs && one.takesClients },
        ...{ agentPort: one.agentPort, port: one.frontPort },
        delete: (force) => void (force ? one.crash() : one.stop()),
      })),
    ),
  )

  constructor(options: DemoOptions, stream: NodeJS.WriteStream) {
    this.#options = options
    this.#stream = stream
    // A demo with --stay judges nothing, so signs of life would only fill the disk.
    this.#beats = options.stay ? '/dev/null' : join(this.#dir, 'beats')
    this.#kubeconfig = join(this.#dir, 'kubeconfig')
  }

  /** Settles once no process of the demo lives. */
  async run(): Promise<Result> {
    try {
      const played = this.#play()
      // If a replica ends first, the race below reports that. The later rejection has no other handler.
      played.catch(() => {})
      return await Promise.race([played, this.#aborted()])
    } catch (error) {
      if (error instanceof Interruption) throw error
      const logs = mkdtempSync(join(tmpdir(), 'langflow-leader-demo-logs-'))
      for (const { name, log } of this.#replicas)
        writeFileSync(join(logs, `${name}.log`), log.output.join('\n'))
      throw new FatalError(`${(error as Error).message}\nThe logs are in ${logs}`)
    } finally {
      this.#abort.abort()
      await this.#guard.close()
      // The output of a replica ends with the last of its processes.
      await Promise.all(this.#replicas.map(({ log }) => log?.exited))
      await this.#api.close()
    }
  }

  end(why: Error): void {
    this.#abort.abort(why)
  }

  async #aborted(): Promise<never> {
    const { signal } = this.#abort
    if (!signal.aborted) await once(signal, 'abort')
    throw signal.reason
  }

  async #play(): Promise<Result> {
    const leader = await this.#start()
    if (this.#options.stay) return this.#stay()
    let turn = 0
    const client = new Client<Answer>({
      everyMs: EVERY_MS,
      withinMs: PATIENCE_MS,
      target: () => {
        const open = this.#replicas.filter(({ takesClients }) => takesClients)
        const next = open[turn++ % open.length]
        return next && { to: next.name, url: next.frontUrl }
      },
      read: (text) => JSON.parse(text) as Answer,
    })
    try {
      await until('the first answers', () => client.answers.length >= ANSWERS)
      const takeovers = await this.#takeovers(leader, client)
      await client.stop()
      return this.#result(takeovers, client)
    } finally {
      void client.stop()
    }
  }

  /** Resolves to the first leader, once both others could take over. */
  async #start(): Promise<DemoReplica> {
    await this.#api.listen()
    // With a Lease that already exists, the first start needn't wait a whole lease duration.
    this.#api.put({ metadata: { name: LEASE } })
    writeFileSync(this.#kubeconfig, kubeconfigFor(this.#api.url), { mode: 0o600 })
    const flags = [`--kubeconfig=${this.#kubeconfig}`, ...(this.#options.fast ? FAST : [])]
    const options = {
      dir: this.#dir,
      onStart: () =>
        this.#guard.watch(
          this.#replicas.filter(({ log }) => log).map(({ log }) => ({ alive: !log.ended, pid: log.pid })),
        ),
      flags,
      beats: this.#beats,
      onEvent: (replica: DemoReplica, line: Line) => {
        const event = eventOf(line)
        if (event !== null) this.#print(`  ${replica.name}  ${event}`)
      },
      onEnd: (replica: DemoReplica, expected: boolean) => void this.#ended(replica, expected),
    }
    for (const name of NAMES) this.#replicas.push(await DemoReplica.make(name, options))
    flags.push(`--peers=${this.#replicas.map(({ agentPort }) => `127.0.0.1:${agentPort}`)}`)
    const lease = this.#options.fast ? '7 s' : '15 s'
    this.#stream.write(
      `demo: three replicas of a small stand-in for LangFlow, with a lease duration of ${lease}\n`,
    )
    for (const replica of this.#replicas) {
      replica.start()
      void this.#probe(replica)
    }
    const served = this.#replicas.map(async (one) => {
      await one.log.event('serving')
      return one
    })
    const leader = await Promise.any(served)
    const followers = this.#replicas.filter((one) => one !== leader)
    await Promise.all(followers.map(({ log }) => log.event('standby_ready')))
    await until('all fronts take requests', () => this.#replicas.every(({ takesClients }) => takesClients))
    return leader
  }

  async #probe(replica: DemoReplica): Promise<void> {
    while (!this.#abort.signal.aborted) {
      await replica.probe()
      await sleep(PROBE_MS)
    }
  }

  async #stay(): Promise<never> {
    const by = (url: (replica: DemoReplica) => string) =>
      Object.fromEntries(this.#replicas.map((one) => [one.name, url(one)]))
    const stage: Stage = {
      kubeconfig: this.#kubeconfig,
      fronts: by(({ frontUrl }) => frontUrl),
      agents: by(({ agentUrl }) => agentUrl),
    }
    const program = [process.execPath, BUNDLE].map(typed).join(' ')
    this.#stream.write(`\n${guideOf(stage, program)}\n\n`)
    if (this.#options.json) process.stdout.write(`${JSON.stringify(stage)}\n`)
    return this.#aborted()
  }

  /** With --stay, a new pod starts a moment later, as in a cluster. */
  async #ended(replica: DemoReplica, expected: boolean): Promise<void> {
    const { signal } = this.#abort
    if (signal.aborted) return
    if (!this.#options.stay) {
      if (!expected) this.end(new FatalError(`${replica.name} ended: ${replica.log.output.at(-1)}`))
      return
    }
    this.#print(`  ${replica.name}  ended; a new pod replaces it`)
    await sleep(NEXT_POD_MS, undefined, { signal }).catch(() => {})
    if (!signal.aborted) replica.start()
  }

  async #takeovers(first: DemoReplica, client: Client<Answer>): Promise<Takeover[]> {
    const takeovers: Takeover[] = []
    let leader = first
    const kinds = Object.keys(FAULTS) as Kind[]
    for (const [n, kind] of kinds.entries()) {
      this.#stream.write('\n')
      this.#print(`${n + 1} of ${kinds.length}: ${kind} of ${leader.name}: ${FAULTS[kind]}`)
      const takeover = await takeOver(kind, leader, this.#replicas, client)
      takeovers.push(takeover)
      this.#print(`${takeover.to} has taken over`)
      await sleep(WATCH_MS)
      await recover(kind, leader)
      leader = this.#replicas.find(({ name }) => name === takeover.to)!
    }
    return takeovers
  }

  /** Throws if two replicas acted at the same time, or if a term left no signs of life: then, an overlap of 0 would prove nothing. */
  #result(takeovers: readonly Takeover[], { calls }: Client<Answer>): Result {
    const beats = readBeats(this.#beats)
    for (const { to, epoch } of takeovers)
      if (!beats.some((beat) => beat.replica === to && beat.epoch === epoch))
        throw new FatalError(`the workload of ${to} left no signs of life in epoch ${epoch}`)
    const overlap = Math.ceil(overlapMs(beats))
    if (overlap > 0 || lateBeats(beats).length > 0)
      throw new FatalError(`two replicas acted at the same time for ${overlap} ms`)
    const failures = calls.filter(({ failure }) => failure !== null)
    const failedAfter = (n: number) => {
      const until = takeovers[n + 1]?.faultAt ?? Number.POSITIVE_INFINITY
      return failures.filter(({ endedAt }) => endedAt >= takeovers[n]!.faultAt && endedAt < until).length
    }
    return {
      ok: true,
      takeovers: takeovers.map((one, n) => ({ ...one, failedRequests: failedAfter(n) })),
      overlapMs: overlap,
      beats: beats.length,
      requests: { sent: calls.length, failed: failures.length },
      elapsedMs: Math.round(mono() - this.#began),
    }
  }

  #print(text: string): void {
    const at = styleText('dim', shortDuration(mono() - this.#began).padStart(8), { stream: this.#stream })
    this.#stream.write(`${at}  ${text}\n`)
  }
}

function typed(path: string): string {
  const near = relative(process.cwd(), path)
  return near.startsWith('..') ? path : near
}

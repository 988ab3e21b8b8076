import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { EventName } from '../../agent/observe/events.ts'
import type { AgentStatus } from '../../agent/observe/status.ts'
import { freePort } from '../harness/free-port.ts'
import { NAMESPACE, Pod, podObstacle } from '../harness/pod.ts'
import { EmbeddedScene } from '../harness/scene.ts'
import { mono } from '../harness/wait.ts'

const BUILD = fileURLToPath(new URL('../../deploy/bundle/build.mjs', import.meta.url))
const FLOW = fileURLToPath(new URL('./fixtures/flow.mjs', import.meta.url))

/** As in a pod no capability is left. */
const UNPRIVILEGED = 'exec setpriv --inh-caps=-all --bounding-set=-all --no-new-privs "$@"'
/** Nor can the directory of the socket be written to. */
const READ_ONLY = 'mkdir -p "$0" && mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"'

const restricted = (directory: string) => ['sh', '-c', `${READ_ONLY} && ${UNPRIVILEGED}`, directory]
/** With the directory of the socket writable, by mistake. */
export const careless = (directory: string) => ['sh', '-c', UNPRIVILEGED, directory]

/** The user and group of LangFlow's own image; a program is executed only once nothing of root is left. */
export const AS_LANGFLOW = [
  ...'setpriv --reuid=1000 --regid=0 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs'.split(
    ' ',
  ),
  ...['sh', '-c', 'exec "$@"', 'sh'],
]
/** As `deploy/base` has it. */
export const asLangflow = (directory: string) => [
  ...['sh', '-c', `${READ_ONLY} && exec "$@"`, directory],
  ...AS_LANGFLOW,
]

export const ATTACK_PROCESS = fileURLToPath(new URL('./fixtures/attack-process.py', import.meta.url))

/** What LangFlow's container starts, in `directory`, by `install`; returns where. */
export function installPrograms(directory: string): string {
  const [main, programs] = [join(directory, 'langflow-leader.mjs'), join(directory, 'programs')]
  execFileSync(process.execPath, [BUILD, main])
  execFileSync(process.execPath, [main, 'install', programs])
  return programs
}

/** So that the whole fits into the agent's container. */
const FRUGAL = ['--max-old-space-size=96']

/** Renewals as fast as `FAST`, deadlines further off: the attackers share the machine with the attacked. */
const TIMINGS = ['--lease-duration=6s', '--renew-deadline=4s', '--retry-period=400ms', '--kill-margin=600ms']
/** Half of the `--renew-deadline`: leadership would be in doubt after the whole of it. */
const RENEWED_WITHIN_MS = 2000
/** The workload shows a sign of life each 10 ms, where the machine lets it. */
const BEATS_WITHIN_MS = 1000
/** One may be late because attackers and attacked share the machine. */
const PROBES_IN_A_ROW = 3
/** What one attack may add: the agent takes some 75 MiB before any, and a launcher shares LangFlow's memory. */
const GROWTH_MIB = { agent: 96, launcher: 16 }
/** What `deploy/base` gives the agent, whatever attacks have come before: at more it would be killed. */
const AGENT_MIB = 192
/** What an attack may add to each log. */
const LINES = 12

/** What happens only when somebody has noticed. */
const NOTICED: ReadonlySet<EventName> = new Set<EventName>([
  'doubt',
  'lost',
  'draining',
  'released',
  'stepped_down',
  'workload_frozen',
  'workload_thawed',
  'workload_stopped',
  'deadman_fired',
  'fatal',
])

/** A leader that serves, with a hostile process in its LangFlow container, and a follower that is ready. */
export class HostileScene {
  readonly scene: EmbeddedScene
  readonly leader: Pod
  readonly follower: Pod
  private readonly control: string
  private readonly t: TestContext

  private constructor(t: TestContext, scene: EmbeddedScene, leader: Pod, follower: Pod, control: string) {
    this.t = t
    this.scene = scene
    this.leader = leader
    this.follower = follower
    this.control = control
  }

  /** `undefined` where the test is skipped, since a pod cannot be imitated here. */
  static async open(
    t: TestContext,
    entry = restricted,
    env: NodeJS.ProcessEnv = {},
  ): Promise<HostileScene | undefined> {
    const obstacle = podObstacle() ?? restrictionObstacle()
    if (obstacle !== undefined) {
      t.skip(obstacle)
      return undefined
    }
    const scene = await EmbeddedScene.open(t)
    const control = join(scene.dir, 'control.sock')
    // From its sources it takes twice the memory that is judged here.
    const programs = installPrograms(scene.dir)
    chmodSync(scene.dir, 0o777)
    const pod = async (identity: string, control: string) => {
      const directory = scene.path(identity)
      const port = await freePort()
      const options = {
        identity,
        flags: TIMINGS,
        port,
        kubeconfig: scene.kubeconfig(identity),
        beats: scene.log,
        command: [process.execPath, FLOW, String(port), scene.log, control, `${directory}/run/launcher.sock`],
        entry: entry(`${directory}/run`),
        env,
        programs,
        agentFlags: FRUGAL,
        launcherFlags: FRUGAL,
        main: join(programs, 'langflow-leader.mjs'),
      }
      const one = await Pod.start(options, directory)
      scene.atEnd(() => one.stop())
      return one
    }
    const leader = await pod('a', control)
    await leader.agent.event('serving')
    const follower = await pod('b', `${control}.b`)
    await follower.agent.event('standby_ready')
    return new HostileScene(t, scene, leader, follower, control)
  }

  /** Lets the hostile process attack; resolves to what it says of it. */
  async attack<T>(name: string, options: object = {}): Promise<T> {
    const call = request({ socketPath: this.control, path: `/${name}`, method: 'POST', agent: false })
    const answer = new Promise<string>((resolve, reject) => {
      call.on('response', (response) => resolve(text(response)))
      call.on('error', reject)
    })
    call.end(JSON.stringify(options))
    const { result, error } = JSON.parse(await answer) as { result: T; error?: string }
    assert.equal(error, undefined)
    return result
  }

  /** When the leader's writes of the Lease were sent, in ms. */
  private renewals(): number[] {
    return this.scene.api.requests.list({ client: 'a', verb: ['update', 'patch'] }).map(({ at }) => at)
  }

  /**
   * Judges what went on during `attack`: nobody noticed. The Lease was renewed in its period, nothing was frozen,
   * stopped or handed over, the same LangFlow process went on under the same epoch, probes were answered, and neither
   * memory nor log went to waste. What was measured is told in the output.
   */
  async unnoticed<T>(attack: () => Promise<T>): Promise<T> {
    const { leader, follower, scene } = this
    const logs = [leader.agent, leader.container, follower.agent, follower.container]
    const from = logs.map((log) => log.lines.length)
    const before = await this.leader.status()
    const renewed = this.renewals().length
    const began = mono()
    const memory = new MemoryWatch({ agent: leader.agent.pid, launcher: leader.launcherPid() })
    const prober = new Prober(leader.httpPort, '/readyz')
    const result = await attack()
    await prober.end()
    const growth = memory.end()
    const ended = mono()
    const count = this.renewals().length + 2
    await Promise.race([
      scene.api.requests.waitFor({ client: 'a', verb: ['update', 'patch'] }, { count, answered: true }),
      leader.agent.exited.then(() =>
        assert.fail(`the agent is gone:\n${leader.agent.output.slice(-20).join('\n')}`),
      ),
    ])
    const after = await this.leader.status()

    const longestRenewal = longestGap(this.renewals().slice(renewed - 1))
    const beats = scene
      .beats('a')
      .filter(({ mono }) => mono > began - BEATS_WITHIN_MS && mono < ended)
      .map(({ mono }) => mono)
    const longestSilence = longestGap([began, ...beats, ended])
    const agentMiB = mostResidentMiB(leader.agent.pid)
    const said = logs.map((log, n) => log.lines.slice(from[n]))
    const round = (ms: number) => Math.round(ms)
    this.t.diagnostic(
      `renewed within ${round(longestRenewal)} ms, longest silence of LangFlow ${round(longestSilence)} ms, ` +
        `agent +${growth.agent.toFixed(1)} MiB and never more than ${agentMiB.toFixed(1)}, launcher +${growth.launcher.toFixed(1)} MiB, ` +
        `${prober.tookMs.length} probes within ${round(Math.max(...prober.tookMs))} ms, ` +
        `${prober.failures.length} failed (${[...new Set(prober.failures)]}), ${said[0]?.length}/${said[1]?.length} lines of log`,
    )
    assert.deepEqual(
      said.flat().flatMap(({ event }) => (event && NOTICED.has(event) ? [event] : [])),
      [],
    )
    const identity = ({ lease, workload }: AgentStatus) => [
      lease.holder,
      lease.epoch,
      workload.epoch,
      workload.pid,
      workload.state,
    ]
    assert.deepEqual(identity(after), identity(before))
    assert.ok(longestRenewal < RENEWED_WITHIN_MS, `renewed after ${longestRenewal} ms`)
    assert.ok(beats.length > 0, 'LangFlow showed no sign of life')
    assert.ok(longestSilence < BEATS_WITHIN_MS, `LangFlow was silent for ${longestSilence} ms`)
    for (const name of ['agent', 'launcher'] as const)
      assert.ok(growth[name] < GROWTH_MIB[name], `the ${name} grew by ${growth[name].toFixed(1)} MiB`)
    assert.ok(agentMiB < AGENT_MIB, `the agent held ${agentMiB.toFixed(1)} MiB`)
    assert.ok(
      prober.unreadyAfter < PROBES_IN_A_ROW,
      `${prober.unreadyAfter} probes in a row would have failed`,
    )
    for (const lines of said)
      assert.ok(lines.length <= LINES, `${lines.length} lines:\n${lines.map(({ msg }) => msg).join('\n')}`)
    return result
  }

  /** What the leader's agent has logged of strangers on the socket. */
  alarms(): string[] {
    return this.leader.agent.lines.flatMap(({ level, msg }) =>
      level === 'warn' && /turned somebody away|the socket was/.test(msg) ? [msg] : [],
    )
  }

  /** The secret that the leader's agent has given to its launcher. */
  token(): string {
    const stored = JSON.parse(readFileSync(join(this.leader.directory, 'state', 'launcher.json'), 'utf8'))
    return (stored as { token: string }).token
  }
}

function longestGap(times: readonly number[]): number {
  return Math.max(...times.slice(1).map((at, n) => at - (times[n] as number)))
}

function restrictionObstacle(): string | undefined {
  const tried = spawnSync('unshare', [...NAMESPACE, ...restricted('/tmp'), 'true'], { encoding: 'utf8' })
  return tried.status === 0
    ? undefined
    : `no read-only mount to be had: ${tried.error?.message ?? tried.stderr}`
}

const SAMPLE_MS = 50

/** How much more memory processes came to hold than when the watch began, in MiB. */
class MemoryWatch {
  private readonly pids: { agent: number; launcher: number }
  private readonly before: { agent: number; launcher: number }
  private readonly peak: { agent: number; launcher: number }
  private readonly timer: NodeJS.Timeout

  constructor(pids: { agent: number; launcher: number }) {
    this.pids = pids
    this.before = { agent: residentMiB(pids.agent), launcher: residentMiB(pids.launcher) }
    this.peak = { ...this.before }
    this.timer = setInterval(() => this.sample(), SAMPLE_MS)
  }

  private sample(): void {
    for (const name of ['agent', 'launcher'] as const)
      this.peak[name] = Math.max(this.peak[name], residentMiB(this.pids[name]))
  }

  end(): { agent: number; launcher: number } {
    this.sample()
    clearInterval(this.timer)
    return { agent: this.peak.agent - this.before.agent, launcher: this.peak.launcher - this.before.launcher }
  }
}

/** The most that a process has held since it began, by the kernel's own count. */
function mostResidentMiB(pid: number): number {
  return statusMiB(pid, 'VmHWM')
}

function residentMiB(pid: number): number {
  return statusMiB(pid, 'VmRSS')
}

function statusMiB(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(status)?.[1]) / 1024
}

const PROBE_EVERY_MS = 100
/** As long as the kubelet waits for an answer, to its last byte. */
const PROBE_WITHIN_MS = 1000

/** Probes as the kubelet does: each time on a new connection. Tells how long the answers took, in ms. */
class Prober {
  readonly tookMs: number[] = []
  readonly failures: string[] = []
  /** The most failures in a row, answers that did not come in time among them. */
  unreadyAfter = 0
  private inARow = 0
  private asking = true
  private readonly done: Promise<void>

  constructor(port: number, path: string) {
    this.done = this.run(port, path)
  }

  private async run(port: number, path: string): Promise<void> {
    while (this.asking) {
      const from = performance.now()
      const failure = await askOnce(port, path).then(
        (status) => (status === 200 ? undefined : `status ${status}`),
        (error: NodeJS.ErrnoException) => error.code ?? error.message,
      )
      const took = performance.now() - from
      if (failure === undefined) this.tookMs.push(took)
      else this.failures.push(failure)
      this.inARow = failure === undefined && took < PROBE_WITHIN_MS ? 0 : this.inARow + 1
      this.unreadyAfter = Math.max(this.unreadyAfter, this.inARow)
      await new Promise((resolve) => setTimeout(resolve, PROBE_EVERY_MS))
    }
  }

  async end(): Promise<void> {
    this.asking = false
    await this.done
  }
}

async function askOnce(port: number, path: string): Promise<number> {
  const signal = AbortSignal.timeout(PROBE_WITHIN_MS)
  const call = request({ host: '127.0.0.1', port, path, agent: false, signal })
  call.end()
  const [response] = (await once(call, 'response')) as [IncomingMessage]
  await text(response)
  return response.statusCode as number
}

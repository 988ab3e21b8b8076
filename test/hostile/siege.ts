import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, readFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { EventName } from '../../agent/observe/events.ts'
import type { AgentStatus } from '../../agent/observe/status.ts'
import { freePort } from '../support/free-port.ts'
import { NAMESPACE, Pod, podObstacle } from '../support/pod.ts'
import { mono, Stage } from '../support/stage.ts'
import { MemoryWatch, mostResidentMiB } from './memory-watch.ts'
import { Prober } from './prober.ts'

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

export const BESIEGE = fileURLToPath(new URL('./fixtures/besiege.py', import.meta.url))

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
export class Siege {
  readonly stage: Stage
  readonly leader: Pod
  readonly follower: Pod
  private readonly control: string
  private readonly t: TestContext

  private constructor(t: TestContext, stage: Stage, leader: Pod, follower: Pod, control: string) {
    this.t = t
    this.stage = stage
    this.leader = leader
    this.follower = follower
    this.control = control
  }

  /** `undefined` where the test is skipped, since a pod cannot be imitated here. */
  static async begin(
    t: TestContext,
    entry = restricted,
    env: NodeJS.ProcessEnv = {},
  ): Promise<Siege | undefined> {
    const obstacle = podObstacle() ?? restrictionObstacle()
    if (obstacle !== undefined) {
      t.diagnostic(`SKIPPED: ${obstacle}`)
      t.skip(obstacle)
      return undefined
    }
    const stage = await Stage.open(t)
    const control = join(stage.dir, 'control.sock')
    // From its sources it takes twice the memory that is judged here.
    const programs = installPrograms(stage.dir)
    const main = join(programs, 'langflow-leader.mjs')
    chmodSync(stage.dir, 0o777)
    const pod = async (identity: string, control: string) => {
      const directory = join(stage.dir, identity)
      const port = await freePort()
      const socket = `${directory}/run/launcher.sock`
      const one = await Pod.start(
        {
          identity,
          flags: TIMINGS,
          port,
          kubeconfig: stage.kubeconfig(identity),
          beats: stage.beats,
          command: [process.execPath, FLOW, String(port), stage.beats, control, socket],
          entry: entry(`${directory}/run`),
          env,
          programs,
          agentFlags: FRUGAL,
          launcherFlags: FRUGAL,
          main,
        },
        directory,
      )
      stage.pods.push(one)
      return one
    }
    const leader = await pod('a', control)
    await leader.agent.event('serving')
    const follower = await pod('b', `${control}.b`)
    await follower.agent.event('standby_ready')
    return new Siege(t, stage, leader, follower, control)
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

  async status(): Promise<AgentStatus> {
    return JSON.parse((await this.leader.get('/status')).text) as AgentStatus
  }

  /** When the leader's writes of the Lease were sent, in ms. */
  private renewals(): number[] {
    return this.stage.api.requests.list({ client: 'a', verb: ['update', 'patch'] }).map(({ at }) => at)
  }

  /**
   * Judges what went on during `attack`: nobody noticed. The Lease was renewed in its period, nothing was frozen,
   * stopped or handed over, the same LangFlow process went on under the same epoch, probes were answered, and neither
   * memory nor log went to waste. What was measured is told in the output.
   */
  async unnoticed<T>(attack: () => Promise<T>): Promise<T> {
    const { leader, follower, stage } = this
    const logs = [leader.agent, leader.container, follower.agent, follower.container]
    const from = logs.map((log) => log.lines.length)
    const before = await this.status()
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
      stage.api.requests.waitFor({ client: 'a', verb: ['update', 'patch'] }, { count, answered: true }),
      leader.agent.exited.then(() =>
        assert.fail(`the agent is gone:\n${leader.agent.output.slice(-20).join('\n')}`),
      ),
    ])
    const after = await this.status()

    const longestRenewal = longestGap(this.renewals().slice(renewed - 1))
    const beats = stage
      .beatsOf('a')
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

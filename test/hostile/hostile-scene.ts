import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import type { EventName } from '../../agent/observe/log.ts'
import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { askOnce } from '../harness/client.ts'
import { freePort } from '../harness/free-port.ts'
import { NAMESPACE, type Pod, podObstacle } from '../harness/pod.ts'
import { EmbeddedScene } from '../harness/scene.ts'
import { mono } from '../harness/wait.ts'

const FLOW = join(import.meta.dirname, 'fixtures/flow.mjs')

/** Drops all capabilities, as in a pod. */
const UNPRIVILEGED = 'exec setpriv --inh-caps=-all --bounding-set=-all --no-new-privs "$@"'
const READ_ONLY = 'mkdir -p "$0" && mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"'

const restricted = (directory: string) => ['sh', '-c', `${READ_ONLY} && ${UNPRIVILEGED}`, directory]
/** Leaves the directory of the socket writable, as a wrong mount would. */
export const careless = (directory: string) => ['sh', '-c', UNPRIVILEGED, directory]

/** Runs a program as the user and group of LangFlow's image. A shell executes it, so that it starts without root's rights. */
export const AS_LANGFLOW = [
  ...'setpriv --reuid=1000 --regid=0 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs'.split(
    ' ',
  ),
  ...['sh', '-c', 'exec "$@"', 'sh'],
]
export const asLangflow = (directory: string) => [
  ...['sh', '-c', `${READ_ONLY} && exec "$@"`, directory],
  ...AS_LANGFLOW,
]

export const ATTACK_PROCESS = join(import.meta.dirname, 'fixtures/attack-process.py')

/** Runs `install` as in a pod, and returns the folder with the programs that LangFlow's container starts. */
export function installPrograms(directory: string): string {
  const programs = join(directory, 'programs')
  execFileSync(process.execPath, [BUNDLE, 'install', programs])
  return programs
}

export const skip = podObstacle() ?? restrictionObstacle() ?? false

function restrictionObstacle(): string | undefined {
  const tried = spawnSync('unshare', [...NAMESPACE, ...restricted('/tmp'), 'true'], { encoding: 'utf8' })
  return tried.status === 0
    ? undefined
    : `cannot make a read-only mount: ${tried.error?.message ?? tried.stderr}`
}

/** Heap limit in MiB that keeps the process within the agent's container. */
const FRUGAL = ['--max-old-space-size=96']

/** Renewals as frequent as in `FAST`, but later deadlines, since the attackers load the same machine. */
const TIMINGS = ['--lease-duration=6s', '--renew-deadline=4s', '--retry-period=400ms', '--kill-margin=600ms']
/** Half of the renew deadline, after which leadership would be in doubt. */
const RENEWED_WITHIN_MS = 2000
/** The workload writes a beat every 10 ms if the machine isn't too busy. */
const BEATS_WITHIN_MS = 1000
/** Single probes may be late, since the attackers load the same machine. */
const PROBES_IN_A_ROW = 3
/** Allowed growth of the launcher by one attack: it shares LangFlow's memory limit. */
const LAUNCHER_GROWS_MIB = 16
/** The agent's memory limit in `deploy/langflow.yaml`, which must suffice for all attacks together. */
const AGENT_MIB = 192
/** Allowed number of new lines in each log per attack. */
const LINES = 12

const EFFECTS: ReadonlySet<EventName> = new Set<EventName>([
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

export class HostileScene extends EmbeddedScene {
  leader!: Pod
  follower!: Pod
  readonly #control = join(this.dir, 'control.sock')
  readonly #t: TestContext

  private constructor(t: TestContext) {
    super()
    this.#t = t
  }

  static override async open(
    t: TestContext,
    entry = restricted,
    env: NodeJS.ProcessEnv = {},
  ): Promise<HostileScene> {
    const scene = await new HostileScene(t).begin(t)
    // The bundle is measured, since the agent needs twice the memory when it runs from its sources.
    const programs = installPrograms(scene.dir)
    chmodSync(scene.dir, 0o777)
    const pod = async (identity: string, control: string) => {
      const port = await freePort()
      const directory = scene.path(identity)
      const run = `${directory}/run`
      return scene.pod(identity, {
        directory,
        flags: TIMINGS,
        port,
        command: [process.execPath, FLOW, String(port), scene.log, control, `${run}/launcher.sock`],
        entry: entry(run),
        env,
        programs,
        agentFlags: FRUGAL,
        launcherFlags: FRUGAL,
        main: join(programs, 'langflow-leader.mjs'),
      })
    }
    scene.leader = await pod('a', scene.#control)
    await scene.leader.agent.event('serving')
    scene.follower = await pod('b', `${scene.#control}.b`)
    await scene.follower.agent.event('standby_ready')
    return scene
  }

  /** Runs one attack in the hostile process, and resolves to its result. */
  async attack<T>(name: string, options: object = {}): Promise<T> {
    const dispatcher = new Agent({ connect: { socketPath: this.#control }, headersTimeout: 0 })
    const call = { dispatcher, method: 'POST', body: JSON.stringify(options) } as const
    const { body } = await request(`http://hostile/${name}`, call)
    const { result, error } = (await body.json()) as { result: T; error?: string }
    await dispatcher.destroy()
    assert.equal(error, undefined)
    return result
  }

  /**
   * Asserts that `attack` has no effect: the Lease is renewed in time, LangFlow is not frozen, stopped or handed over, the
   * same LangFlow process continues under the same epoch, probes are answered, and memory and logs stay within bounds. The
   * test's output shows the measurements.
   */
  async assertNoEffect<T>(attack: () => Promise<T>): Promise<T> {
    const { leader, follower } = this
    const logs = [leader.agent, leader.container, follower.agent, follower.container]
    const from = logs.map((log) => log.lines.length)
    const before = await leader.status()
    const { writes } = this.api
    const renewed = writes.list.length
    const began = mono()
    const launcherMiB = peakMiB(leader.launcherPid())
    const over = new AbortController()
    const probing = probe(leader.httpPort, over.signal)
    const result = await attack().finally(() => over.abort())
    const { longestMs, failures, mostInARow } = await probing
    const ended = mono()
    await Promise.race([
      writes.next('two renewals', () => true, writes.list.length + 1),
      leader.agent.exited.then(() =>
        assert.fail(`the agent exited:\n${leader.agent.output.slice(-20).join('\n')}`),
      ),
    ])
    const after = await leader.status()

    const longestRenewal = longestGap(writes.list.slice(renewed - 1))
    const beats = this.beats('a').map(({ mono }) => mono)
    const during = beats.filter((at) => at > began - BEATS_WITHIN_MS && at < ended)
    const longestSilence = longestGap([began, ...during, ended])
    const agentMiB = peakMiB(leader.agent.pid)
    const grownMiB = peakMiB(leader.launcherPid()) - launcherMiB
    const logged = logs.map((log, n) => log.lines.slice(from[n]))
    this.#t.diagnostic(
      JSON.stringify({ longestRenewal, longestSilence, longestMs, failures, agentMiB, grownMiB }),
    )
    assert.deepEqual(
      logged.flat().flatMap(({ event }) => (event && EFFECTS.has(event) ? [event] : [])),
      [],
    )
    const identity = ({ lease: { holder, epoch }, workload }: AgentStatus) => [
      ...[holder, epoch],
      ...[workload.epoch, workload.pid, workload.state],
    ]
    assert.deepEqual(identity(after), identity(before))
    assert.ok(longestRenewal < RENEWED_WITHIN_MS, `renewed after ${longestRenewal} ms`)
    assert.ok(during.length > 0, 'LangFlow wrote no beat')
    assert.ok(longestSilence < BEATS_WITHIN_MS, `LangFlow was silent for ${longestSilence} ms`)
    assert.ok(grownMiB < LAUNCHER_GROWS_MIB, `the launcher grew by ${grownMiB.toFixed(1)} MiB`)
    assert.ok(agentMiB < AGENT_MIB, `the agent held ${agentMiB.toFixed(1)} MiB`)
    assert.ok(mostInARow < PROBES_IN_A_ROW, `${mostInARow} probes in a row failed`)
    for (const lines of logged)
      assert.ok(lines.length <= LINES, `${lines.length} lines:\n${lines.map(({ msg }) => msg).join('\n')}`)
    return result
  }

  alarms(): string[] {
    return this.leader.agent.lines.flatMap(({ level, msg }) =>
      level === 'warn' && /refused a connection|the socket was/.test(msg) ? [msg] : [],
    )
  }
}

function longestGap(times: readonly number[]): number {
  return Math.max(...times.slice(1).map((at, n) => at - (times[n] as number)))
}

function peakMiB(pid: number): number {
  return Number(/^VmHWM:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}

const PROBE_EVERY_MS = 100
/** The kubelet's probe timeout, which includes the whole answer. */
const PROBE_WITHIN_MS = 1000

/** Probes like the kubelet, on a new connection each time, until `over` is aborted. */
async function probe(port: number, over: AbortSignal) {
  const failures: string[] = []
  let [longestMs, inARow, mostInARow] = [0, 0, 0]
  while (!over.aborted) {
    const from = performance.now()
    try {
      await askOnce(`http://127.0.0.1:${port}/readyz`, String, { withinMs: PROBE_WITHIN_MS })
      inARow = 0
    } catch (error) {
      failures.push((error as Error).message)
      inARow++
    }
    longestMs = Math.max(longestMs, performance.now() - from)
    mostInARow = Math.max(mostInARow, inARow)
    await sleep(PROBE_EVERY_MS)
  }
  return { longestMs, failures, mostInARow }
}

import { join } from 'node:path'
import { deployRights } from '../harness/control-plane.ts'
import { freePort } from '../harness/free-port.ts'
import { LoggedProcess } from '../harness/logged-process.ts'
import { commandLine, Replica } from '../harness/replica.ts'
import { LEASE } from '../harness/scene.ts'
import type { Candidate, Side } from './contest.ts'
import { end, type Testbed } from './testbed.ts'

/** 15 s, 10 s, 2 s. */
export const DEFAULT_TIMINGS: readonly string[] = []

/** `run` from the bundle, with the stand-in workload and the rights of deploy/base. */
export class OurSide implements Side {
  readonly name = 'langflow-leader'
  readonly lease = LEASE
  /** What workloads wrote: one file a Lease. */
  readonly beats: string[] = []
  readonly #testbed: Testbed

  constructor(testbed: Testbed) {
    this.#testbed = testbed
  }

  async enter(namespace: string): Promise<(identity: string) => Promise<Candidate>> {
    const { plane, main, env } = this.#testbed
    const kubeconfig = await deployRights(plane, namespace)
    const beats = this.newBeats()
    return async (identity) => {
      const options = { identity, kubeconfig, namespace, beats, main, env, flags: DEFAULT_TIMINGS }
      return new OurCandidate(this.#testbed.keep(await Replica.start(options)))
    }
  }

  /** A file for the workloads of one more Lease. */
  newBeats(): string {
    const file = this.#testbed.path('beats')
    this.beats.push(file)
    return file
  }
}

class OurCandidate implements Candidate {
  readonly process: Replica

  constructor(replica: Replica) {
    this.process = replica
  }

  get identity(): string {
    return this.process.name
  }

  async ready(): Promise<void> {
    await this.process.find('ready', ({ event }) => event === 'serving' || event === 'standby_ready')
  }

  async leads(): Promise<void> {
    await this.process.event('serving')
  }

  async released(): Promise<number> {
    return Date.parse((await this.process.event('released')).time)
  }

  async acquired(): Promise<number> {
    return Date.parse((await this.process.event('acquired')).time)
  }

  kill(): void {
    const { pid } = this.process
    for (const one of [pid, this.process.launcherPid(), this.process.workloadPid()])
      process.kill(one, 'SIGKILL')
  }
}

export interface PodPlace {
  readonly identity: string
  readonly namespace: string
  readonly kubeconfig: string
  readonly beats: string
}

/** Agent and launcher as two programs with a socket between them, as in a pod, but in no container. */
export class BarePod {
  readonly agent: LoggedProcess
  readonly launcher: LoggedProcess
  readonly #testbed: Testbed
  #workload: number | undefined

  private constructor(testbed: Testbed, agent: LoggedProcess, launcher: LoggedProcess) {
    this.#testbed = testbed
    this.agent = agent
    this.launcher = launcher
  }

  static async start(testbed: Testbed, place: PodPlace): Promise<BarePod> {
    const { agent, launcher } = await programs(testbed, place)
    return new BarePod(
      testbed,
      testbed.keep(new LoggedProcess(`agent of ${place.identity}`, agent, testbed.env)),
      testbed.keep(new LoggedProcess(`launcher of ${place.identity}`, launcher, testbed.env)),
    )
  }

  async leads(): Promise<void> {
    await this.agent.event('serving')
    // Without a PID namespace around it, nothing else would end it if the bench were killed.
    this.#workload = (await this.launcher.event('workload_started')).pid as number
    this.#testbed.keepStray(this.#workload)
  }

  async standsBy(): Promise<void> {
    await this.agent.event('standby_ready')
  }

  /** As the kubelet ends a pod: the LangFlow container first, the sidecar after it. */
  async close(): Promise<void> {
    await end(this.launcher)
    if (this.#workload !== undefined) this.#testbed.forgetStray(this.#workload)
    await end(this.agent)
  }
}

/** The command lines of `agent` and `launch`, with ports and a socket of their own. */
export async function programs(
  testbed: Testbed,
  place: PodPlace,
): Promise<{ agent: string[]; launcher: string[] }> {
  const { agent, workload } = commandLine(
    { ...place, flags: DEFAULT_TIMINGS },
    await freePort(),
    await freePort(),
  )
  const dir = testbed.path('pod')
  const socket = `--socket=${join(dir, 'launcher.sock')}`
  const main = [process.execPath, testbed.main]
  return {
    agent: [...main, 'agent', ...agent, socket, `--state-dir=${join(dir, 'state')}`],
    launcher: [...main, 'launch', socket, '--', ...workload],
  }
}

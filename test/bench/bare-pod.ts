import { join } from 'node:path'
import { freePort } from '../support/free-port.ts'
import { LoggedProcess } from '../support/logged-process.ts'
import { commandLine } from '../support/replica.ts'
import { end, type Ground } from './ground.ts'
import { DEFAULT_TIMINGS } from './ours.ts'

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
  readonly #ground: Ground
  #workload: number | undefined

  private constructor(ground: Ground, agent: LoggedProcess, launcher: LoggedProcess) {
    this.#ground = ground
    this.agent = agent
    this.launcher = launcher
  }

  static async start(ground: Ground, place: PodPlace): Promise<BarePod> {
    const { agent, launcher } = await programs(ground, place)
    return new BarePod(
      ground,
      ground.keep(new LoggedProcess(`agent of ${place.identity}`, agent, ground.env)),
      ground.keep(new LoggedProcess(`launcher of ${place.identity}`, launcher, ground.env)),
    )
  }

  async leads(): Promise<void> {
    await this.agent.event('serving')
    // Without a PID namespace around it, nothing else would end it if the bench were killed.
    this.#workload = (await this.launcher.event('workload_started')).pid as number
    this.#ground.keepStray(this.#workload)
  }

  async standsBy(): Promise<void> {
    await this.agent.event('standby_ready')
  }

  /** As the kubelet ends a pod: the LangFlow container first, the sidecar after it. */
  async close(): Promise<void> {
    await end(this.launcher)
    if (this.#workload !== undefined) this.#ground.forgetStray(this.#workload)
    await end(this.agent)
  }
}

/** The command lines of `agent` and `launch`, with ports and a socket of their own. */
export async function programs(
  ground: Ground,
  place: PodPlace,
): Promise<{ agent: string[]; launcher: string[] }> {
  const { agent, workload } = commandLine(
    { ...place, flags: DEFAULT_TIMINGS },
    await freePort(),
    await freePort(),
  )
  const dir = ground.path('pod')
  const socket = `--socket=${join(dir, 'launcher.sock')}`
  const main = [process.execPath, ground.main]
  return {
    agent: [...main, 'agent', ...agent, socket, `--state-dir=${join(dir, 'state')}`],
    launcher: [...main, 'launch', socket, '--', ...workload],
  }
}

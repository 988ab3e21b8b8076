import type { LangflowScene } from '../../harness/langflow.ts'
import type { Pod } from '../../harness/pod.ts'
import { until } from '../../harness/wait.ts'
import type { Testbed } from '../testbed.ts'
import { FAST_FLAGS, type Mode } from './faults.ts'

/** Enough for a cold start and the preparation of a standby after it, on a machine without other load. */
const SETTLED_WITHIN_MS = 240_000

/** LangFlow's settings in the chart, which differ from those of other tests. */
const OF_CHART = {
  DO_NOT_TRACK: 'false',
  LANGFLOW_AUTO_LOGIN: 'false',
  LANGFLOW_SUPERUSER: 'langflow',
  LANGFLOW_CREATE_STARTER_PROJECTS: 'true',
  LANGFLOW_UPDATE_STARTER_PROJECTS: 'false',
}

interface PairOptions {
  readonly testbed: Testbed
  readonly scene: LangflowScene
  readonly mode: Mode
  readonly isFast: boolean
  /** The URL of an empty database. */
  readonly database: string
}

/** Two pods with LangFlow on one Lease and one database. One leads, and the other stands by. */
export class Pair {
  readonly options: PairOptions
  pods: Pod[] = []
  #started = 0

  constructor(options: PairOptions) {
    this.options = options
  }

  /** Resolves once one pod serves and the other is started. */
  async start(): Promise<void> {
    await this.#add()
    // One after the other, because two that find an empty database would both make its tables.
    const serves = async () => (await this.#leader()) !== undefined
    await until('the first replica serves', serves, SETTLED_WITHIN_MS)
    await this.#add()
  }

  /** Waits until one pod serves and the other could take over from a standby of the wanted mode. */
  async settle(): Promise<{ leader: Pod; standby: Pod }> {
    const { mode } = this.options
    let found: { leader: Pod; standby: Pod } | undefined
    await until(
      `one pod serves and the other stands by (${mode})`,
      async () => {
        const leader = await this.#leader()
        const standby = this.pods.find((pod) => pod !== leader)
        if (leader === undefined || standby === undefined || !(await this.#standsBy(standby))) return false
        found = { leader, standby }
        return true
      },
      SETTLED_WITHIN_MS,
    )
    return found!
  }

  /** Starts another pod in place of one that is gone. */
  async replace(gone: Pod): Promise<void> {
    await Promise.all([gone.agent.exited, gone.container.exited])
    this.pods = this.pods.filter((pod) => pod !== gone)
    await this.#add()
  }

  /** Kills both pods without a handover. */
  async close(): Promise<void> {
    for (const pod of this.pods) pod.kill()
    await this.options.scene.finish()
  }

  async #leader(): Promise<Pod | undefined> {
    const ready = await Promise.all(this.pods.map((pod) => isOk(pod, '/readyz')))
    return this.pods.find((_, n) => ready[n])
  }

  async #standsBy(pod: Pod): Promise<boolean> {
    const { mode } = this.options
    if (!(await isOk(pod, '/readyz?exclude=leadership'))) return false
    const { standby } = await pod.status()
    if (standby.reason !== null)
      throw new Error(`${pod.options.identity} is a ${standby.mode} standby: ${standby.reason}`)
    return mode === 'cold' || (standby.mode === 'warm' && standby.state === 'ready')
  }

  async #add(): Promise<void> {
    this.#started += 1
    const { testbed, scene, mode, isFast, database } = this.options
    const identity = `${mode}-${this.#started}`
    const pod = await scene.pod(identity, {
      ...testbed.direct(scene, identity),
      flags: [`--standby=${mode}`, ...(isFast ? FAST_FLAGS : [])],
      env: { LANGFLOW_DATABASE_URL: database, ...OF_CHART },
    })
    this.pods.push(pod)
  }
}

async function isOk(pod: Pod, path: string): Promise<boolean> {
  return (await pod.get(path).catch(() => undefined))?.status === 200
}

import type { ControlPlane } from '../../harness/control-plane.ts'
import { LangflowScene } from '../../harness/langflow.ts'
import type { Pod } from '../../harness/pod.ts'
import { until } from '../../harness/wait.ts'
import type { Testbed } from '../testbed.ts'
import { FAST_FLAGS, MODE_FLAGS, type Mode } from './faults.ts'

/** A cold start, and a standby prepared after it, on a machine that does nothing else. */
const SETTLED_WITHIN_MS = 240_000

/** Replicas of LangFlow on one Lease and one database, as pods: one leads, and the other, but in mode `spare`, stands by. */
export class Pair {
  readonly mode: Mode
  readonly plane: ControlPlane
  readonly isFast: boolean
  pods: Pod[] = []
  readonly #testbed: Testbed
  readonly #scene: LangflowScene
  readonly #database: string
  #started = 0

  private constructor(testbed: Testbed, scene: LangflowScene, mode: Mode, isFast: boolean, database: string) {
    this.#testbed = testbed
    this.#scene = scene
    this.plane = testbed.plane
    this.mode = mode
    this.isFast = isFast
    this.#database = database
  }

  /** `database`: the URL of an empty one. */
  static async open(testbed: Testbed, mode: Mode, isFast: boolean, database: string): Promise<Pair> {
    return new Pair(testbed, await LangflowScene.open(testbed.plane), mode, isFast, database)
  }

  /** Resolves once one serves and the other stands by. */
  async start(): Promise<void> {
    await this.#add()
    // Not both at once: two that find an empty database would both make its tables.
    const serves = async () => (await this.#leader()) !== undefined
    await until('the first replica serves', serves, SETTLED_WITHIN_MS)
    if (this.mode !== 'spare') await this.#add()
  }

  /** Waits until one serves and the other, or in mode `spare` itself, would take over from a standby of the wanted mode. */
  async settle(): Promise<{ leader: Pod; standby: Pod }> {
    let found: { leader: Pod; standby: Pod } | undefined
    await until(
      `one serves and the other stands by (${this.mode})`,
      async () => {
        const leader = await this.#leader()
        const standby = this.mode === 'spare' ? leader : this.pods.find((pod) => pod !== leader)
        if (leader === undefined || standby === undefined || !(await this.#standsBy(standby))) return false
        found = { leader, standby }
        return true
      },
      SETTLED_WITHIN_MS,
    )
    return found!
  }

  /** Starts another pod in the place of one that is gone. */
  async replace(gone: Pod): Promise<void> {
    await Promise.all([gone.agent.exited, gone.container.exited])
    this.pods = this.pods.filter((pod) => pod !== gone)
    await this.#add()
  }

  /** Kills all of it: nothing of it is wanted any more. */
  async close(): Promise<void> {
    for (const pod of this.pods) pod.kill()
    await this.#scene.finish()
  }

  async #leader(): Promise<Pod | undefined> {
    const ready = await Promise.all(this.pods.map((pod) => isOk(pod, '/readyz')))
    return this.pods.find((_, n) => ready[n])
  }

  async #standsBy(pod: Pod): Promise<boolean> {
    if (!(await isOk(pod, this.mode === 'spare' ? '/readyz' : '/readyz?exclude=leadership'))) return false
    const { standby } = await pod.status()
    if (standby.reason !== null)
      throw new Error(`${pod.options.identity} is a ${standby.mode} standby: ${standby.reason}`)
    return this.mode === 'cold' || (standby.mode === 'warm' && standby.state === 'ready')
  }

  async #add(): Promise<void> {
    this.#started += 1
    const identity = `${this.mode}-${this.#started}`
    const pod = await this.#scene.pod(identity, {
      ...this.#testbed.direct(this.#scene, identity),
      flags: [...MODE_FLAGS[this.mode], ...(this.isFast ? FAST_FLAGS : [])],
      env: { LANGFLOW_DATABASE_URL: this.#database },
    })
    this.pods.push(pod)
  }
}

async function isOk(pod: Pod, path: string): Promise<boolean> {
  return (await pod.get(path).catch(() => undefined))?.status === 200
}

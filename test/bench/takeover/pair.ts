import { join } from 'node:path'
import { deployRights } from '../../harness/control-plane.ts'
import { freePort } from '../../harness/free-port.ts'
import { langflowEnvironment } from '../../harness/langflow.ts'
import { Pod } from '../../harness/pod.ts'
import { until } from '../../harness/wait.ts'
import type { Testbed } from '../testbed.ts'
import { MODE_FLAGS, type Mode, type Preset } from './settings.ts'

/** A cold start, and a standby prepared after it, on a machine that does nothing else. */
const SETTLED_WITHIN_MS = 240_000
const UP_WITHIN_MS = 10_000

/** What all replicas of the bench share. */
export interface Shared {
  readonly testbed: Testbed
  /** The `langflow` program. */
  readonly binary: string
  /** The directory of the echo flow. */
  readonly flows: string
}

/** Replicas of LangFlow on one Lease and one database, as pods: one leads, and the other, but in mode `spare`, stands by. */
export class Pair {
  readonly mode: Mode
  readonly preset: Preset
  readonly #shared: Shared
  readonly #namespace: string
  readonly #kubeconfig: string
  readonly #database: string
  #pods: Pod[] = []
  #started = 0

  private constructor(
    shared: Shared,
    mode: Mode,
    preset: Preset,
    place: { namespace: string; kubeconfig: string; database: string },
  ) {
    this.#shared = shared
    this.mode = mode
    this.preset = preset
    this.#namespace = place.namespace
    this.#kubeconfig = place.kubeconfig
    this.#database = place.database
  }

  /** Resolves once one serves and the other stands by. `database`: the URL of an empty one. */
  static async open(shared: Shared, mode: Mode, preset: Preset, database: string): Promise<Pair> {
    const namespace = await shared.testbed.plane.newNamespace()
    const kubeconfig = await deployRights(shared.testbed.plane, namespace)
    const pair = new Pair(shared, mode, preset, { namespace, kubeconfig, database })
    shared.testbed.endFirst(() => pair.close())
    await pair.#add()
    // Not both at once: two that find an empty database would both make its tables.
    await until(
      'the first replica serves',
      async () => (await pair.#leader()) !== undefined,
      SETTLED_WITHIN_MS,
    )
    if (mode !== 'spare') await pair.#add()
    await pair.settle()
    return pair
  }

  get pods(): readonly Pod[] {
    return this.#pods
  }

  /** Waits until one serves and the other, or in mode `spare` itself, would take over from a standby of the wanted mode. */
  async settle(): Promise<{ leader: Pod; standby: Pod }> {
    let found: { leader: Pod; standby: Pod } | undefined
    await until(
      `one serves and the other stands by (${this.mode})`,
      async () => {
        const leader = await this.#leader()
        const standby = this.mode === 'spare' ? leader : this.#pods.find((pod) => pod !== leader)
        if (leader === undefined || standby === undefined || !(await this.#standsBy(standby))) return false
        found = { leader, standby }
        return true
      },
      SETTLED_WITHIN_MS,
    )
    return found!
  }

  /** As the kubelet does with a sidecar that has ended. */
  restartAgent(pod: Pod): void {
    pod.startAgent()
    this.#shared.testbed.keep(pod.agent)
  }

  /** Starts another pod in the place of one that is gone. */
  async replace(gone: Pod): Promise<void> {
    await Promise.all([gone.agent.exited, gone.container.exited])
    this.#pods = this.#pods.filter((pod) => pod !== gone)
    await this.#add()
  }

  /** Kills all of it: nothing of it is wanted any more. */
  async close(): Promise<void> {
    const pods = this.#pods
    for (const pod of pods) pod.kill()
    await Promise.all(pods.flatMap((pod) => [pod.agent.exited, pod.container.exited]))
  }

  async #leader(): Promise<Pod | undefined> {
    for (const pod of this.#pods)
      if ((await pod.get('/readyz').catch(() => undefined))?.status === 200) return pod
    return undefined
  }

  async #standsBy(pod: Pod): Promise<boolean> {
    const path = this.mode === 'spare' ? '/readyz' : '/readyz?exclude=leadership'
    if ((await pod.get(path).catch(() => undefined))?.status !== 200) return false
    const { standby } = await pod.status()
    if (standby.reason !== null)
      throw new Error(`${pod.options.identity} is a ${standby.mode} standby: ${standby.reason}`)
    return this.mode === 'cold' || (standby.mode === 'warm' && standby.state === 'ready')
  }

  async #add(): Promise<void> {
    const { testbed, binary, flows } = this.#shared
    this.#started += 1
    const identity = `${this.mode}-${this.#started}`
    const own = testbed.path('langflow')
    const port = await freePort()
    const pod = await Pod.start(
      {
        identity,
        kubeconfig: this.#kubeconfig,
        namespace: this.#namespace,
        port,
        beats: join(own, 'unused'),
        main: testbed.main,
        flags: [...MODE_FLAGS[this.mode], ...this.preset.flags],
        command: [binary, 'run', '--backend-only'],
        env: {
          ...langflowEnvironment(own, port, flows),
          LANGFLOW_DATABASE_URL: this.#database,
          // Each its own, as a container has: LangFlow takes over what those that are dead left there.
          TMPDIR: own,
        },
      },
      testbed.path(identity),
    )
    this.#pods.push(pod)
    await until(`${identity} is up`, () => initOf(pod) !== undefined, UP_WITHIN_MS)
    try {
      testbed.keep(pod.agent)
    } catch (error) {
      pod.kill()
      throw error
    }
    const init = pod.launcherPid()
    testbed.keepStray(init)
    void pod.container.exited.then(() => testbed.forgetStray(init))
  }
}

function initOf(pod: Pod): number | undefined {
  try {
    return pod.container.ended ? undefined : pod.launcherPid()
  } catch {
    return undefined
  }
}

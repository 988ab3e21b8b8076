import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ACCOUNT, deployRights, startControlPlane } from '../harness/control-plane.ts'
import { Refusals } from '../harness/faults/refusals.ts'
import { ApiServerScene, LEASE, type Place } from '../harness/scene.ts'
import { watchLease } from '../harness/watch.ts'
import { Stillness } from './container.ts'
import { Slot } from './slot.ts'

export const REPLICAS = 5
const AGAIN_MS = 500

interface Options {
  readonly seed: number
  /** The program that the pods run. */
  readonly main: string
  /** How long the pods' tokens must last. */
  readonly minutes: number
}

/** Five pods on a real API server of their own, each behind a link. */
export class ChaosScene extends ApiServerScene {
  readonly logs: string
  readonly seed: number
  readonly main: string
  readonly slots: Slot[] = []
  readonly stillness = new Stillness()
  refusals!: Refusals
  /** Monotonic ms of the last time that a person deleted the Lease. */
  leaseDeletedAt = Number.NEGATIVE_INFINITY
  closed = false

  private constructor(place: Place, { seed, main }: Options) {
    super(...place)
    this.seed = seed
    this.main = main
    this.logs = join(this.dir, 'logs')
    mkdirSync(this.logs)
    this.atEnd(() => this.plane.close())
  }

  static async start(options: Options): Promise<ChaosScene> {
    const plane = await startControlPlane()
    try {
      const namespace = await plane.newNamespace()
      await deployRights(plane, namespace)
      const duration = `${Math.ceil(options.minutes) + 30}m`
      const rights = await plane.serviceAccountKubeconfig(namespace, ACCOUNT, { duration })
      const watch = await watchLease(plane, namespace, LEASE)
      const scene = new ChaosScene([plane, namespace, rights, watch], options)
      scene.refusals = await Refusals.open(scene)
      scene.atEnd(() => scene.refusals.close())
      scene.atEnd(() => Promise.all(scene.slots.map(({ link }) => link.close())))
      scene.atEnd(() => Promise.all(scene.slots.map(({ kubelet }) => kubelet.kill())))
      for (let n = 0; n < REPLICAS; n++) scene.slots.push(await Slot.open(scene, n))
      return scene
    } catch (error) {
      await plane.close()
      throw error
    }
  }

  slotOf(identity: string): Slot | undefined {
    return this.slots.find((slot) => slot.identity === identity)
  }

  /** As admin; rejects where the API server does not answer within 5 s. */
  override kubectl(...args: string[]): Promise<{ stdout: string }> {
    return super.kubectl('--request-timeout=5s', ...args)
  }

  /** Tries until it succeeds: it may have to wait for an API server that comes up. */
  async insist(action: () => Promise<unknown>): Promise<void> {
    for (;;) {
      try {
        await action()
        return
      } catch (error) {
        if (this.closed) throw error
        await sleep(AGAIN_MS)
      }
    }
  }

  /** That of kube-apiserver. */
  async version(): Promise<string> {
    const { stdout } = await this.plane.kubectl(['version', '--output=json'])
    return (JSON.parse(stdout) as { serverVersion: { gitVersion: string } }).serverVersion.gitVersion
  }

  /** Ends everything at once. `keep`: what was written stays. */
  override async close(keep = false): Promise<void> {
    this.closed = true
    await this.end()
    if (!keep) rmSync(this.dir, { recursive: true })
  }
}

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ControlPlane, startControlPlane } from '../e2e/control-plane.ts'
import { ACCOUNT, deployRights } from '../e2e/deploy-rights.ts'
import { Refusals } from '../fault-table/refusals.ts'
import { linkedKubeconfig } from '../support/linked-kubeconfig.ts'
import { Asker } from './asker.ts'
import { Seat } from './seat.ts'
import { Stillness } from './stillness.ts'

export const REPLICAS = 5
const AGAIN_MS = 500

export interface GroundOptions {
  readonly seed: number
  /** The program that the pods run. */
  readonly main: string
  /** How long the pods' tokens must last. */
  readonly minutes: number
}

/** A real API server with the rights of deploy/, and five pods on it, each behind a link of its own. */
export class Ground {
  readonly plane: ControlPlane
  readonly namespace: string
  readonly dir: string
  readonly logs: string
  /** What the workloads write. */
  readonly beats: string
  readonly seed: number
  readonly main: string
  readonly seats: Seat[] = []
  readonly asker = new Asker()
  readonly stillness = new Stillness()
  refusals!: Refusals
  /** Monotonic ms of the last time that a person deleted the Lease. */
  leaseDeletedAt = Number.NEGATIVE_INFINITY
  closed = false
  readonly #rights: string

  private constructor(plane: ControlPlane, namespace: string, rights: string, options: GroundOptions) {
    this.plane = plane
    this.namespace = namespace
    this.#rights = rights
    this.seed = options.seed
    this.main = options.main
    this.dir = mkdtempSync(join(tmpdir(), 'chaos-'))
    this.logs = join(this.dir, 'logs')
    mkdirSync(this.logs)
    this.beats = join(this.dir, 'beats')
  }

  static async open(options: GroundOptions): Promise<Ground> {
    const plane = await startControlPlane()
    try {
      const namespace = await plane.newNamespace()
      await deployRights(plane, namespace)
      const duration = `${Math.ceil(options.minutes) + 30}m`
      const rights = await plane.serviceAccountKubeconfig(namespace, ACCOUNT, { duration })
      const ground = new Ground(plane, namespace, rights, options)
      ground.refusals = await Refusals.open(ground)
      for (let n = 0; n < REPLICAS; n++) ground.seats.push(await Seat.open(ground, n))
      return ground
    } catch (error) {
      await plane.close()
      throw error
    }
  }

  /** With the rights of deploy/, over the link on that port. */
  kubeconfig(identity: string, port: number): string {
    return linkedKubeconfig(this.#rights, port, join(this.dir, `${identity}.kubeconfig`))
  }

  seatOf(identity: string): Seat | undefined {
    return this.seats.find((seat) => seat.identity === identity)
  }

  /** As admin; rejects where the API server does not answer within 5 s. */
  kubectl(...args: string[]): Promise<{ stdout: string }> {
    return this.plane.kubectl([`--namespace=${this.namespace}`, '--request-timeout=5s', ...args])
  }

  apply(manifest: string): Promise<unknown> {
    const args = ['apply', `--namespace=${this.namespace}`, '--request-timeout=5s', '-f', '-']
    return this.insist(() => this.plane.kubectl(args, manifest))
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
  async close(keep: boolean): Promise<void> {
    this.closed = true
    await this.asker.close()
    await Promise.all(this.seats.map(({ kubelet }) => kubelet.kill()))
    await Promise.all(this.seats.map(({ link }) => link.close()))
    await this.refusals.close()
    await this.plane.close()
    if (!keep) rmSync(this.dir, { recursive: true })
  }
}

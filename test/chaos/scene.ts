import { createWriteStream, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startControlPlane } from '../harness/control-plane.ts'
import { Refusals } from '../harness/faults/refusals.ts'
import { TcpProxy } from '../harness/faults/tcp-proxy.ts'
import type { LoggedProcess } from '../harness/logged-process.ts'
import { Pod } from '../harness/pod.ts'
import { ApiServerScene, type Place } from '../harness/scene.ts'
import { mono } from '../harness/wait.ts'
import { Random } from '../simulation/random.ts'
import { Kubelet } from './kubelet.ts'

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
      const place = await ApiServerScene.place(plane, `${Math.ceil(options.minutes) + 30}m`)
      const scene = new ChaosScene(place, options)
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

  /** Ends everything at once. `keep`: what was written stays. */
  override async close(keep = false): Promise<void> {
    this.closed = true
    await this.end()
    if (!keep) rmSync(this.dir, { recursive: true })
  }
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyz'
const BLOCK = join(import.meta.dirname, '../harness/faults/block-event-loop.mjs')
/** A workload that ignores SIGTERM is killed after so long; the default (30 s) would be most of a run. */
const STOP_TIMEOUT_S = 5

/** One of the places of the replica set: a pod after the other, each with an identity of its own, over one link. */
export class Slot {
  readonly index: number
  readonly link: TcpProxy
  pod!: Pod
  kubelet!: Kubelet
  readonly #scene: ChaosScene
  readonly #random: Random
  #generation = 0

  private constructor(scene: ChaosScene, index: number, link: TcpProxy) {
    this.#scene = scene
    this.index = index
    this.link = link
    this.#random = new Random(scene.seed + (index + 1) * 2 ** 32)
  }

  static async open(scene: ChaosScene, index: number): Promise<Slot> {
    const slot = new Slot(scene, index, await TcpProxy.open(Number(new URL(scene.plane.serverUrl).port)))
    await slot.fill()
    return slot
  }

  get identity(): string {
    return this.pod.options.identity
  }

  /** A new pod, under a new identity, where there was none or the last one has ended. */
  async fill(): Promise<void> {
    const scene = this.#scene
    this.#generation += 1
    const identity = `${LETTERS[this.index]}-${this.#generation}`
    const options = {
      identity,
      kubeconfig: scene.kubeconfig(identity, this.link.port),
      namespace: scene.namespace,
      beats: scene.log,
      flags: [`--stop-timeout=${STOP_TIMEOUT_S}s`],
      main: scene.main,
      workload: [
        // A slow stop shows what does not wait for it.
        ...(this.#random.chance(0.4) ? ['ignore-term'] : []),
        ...(this.#random.chance(0.2) ? ['daemon'] : []),
        ...(this.#random.chance(0.2) ? ['unhealthy=2'] : []),
      ],
      agentFlags: [`--import=${BLOCK}`],
    }
    this.pod = await Pod.start(options, join(scene.dir, identity))
    this.kubelet = new Kubelet(this.pod, (process, part) => this.#keepLog(process, part))
    if (scene.closed) await this.kubelet.kill()
  }

  /** Ends the pod in the planned way, and starts the next one after its end. */
  async replace(): Promise<void> {
    await this.kubelet.end()
    if (!this.#scene.closed) await this.fill()
  }

  #keepLog({ process }: LoggedProcess, part: string): void {
    const file = createWriteStream(join(this.#scene.logs, `${this.identity}.${part}.log`), { flags: 'a' })
    for (const stream of [process.stdout, process.stderr])
      stream?.on('data', (chunk: Buffer) => file.write(chunk))
    process.once('close', (code, signal) => file.end(`-- ended: ${signal ?? `code ${code}`}\n`))
  }
}

/** After a launcher runs again: it looks at its clocks each 100 ms, as documented. */
const LOOK_MS = 100
/**
 * And from that look until the kernel has ended what it kills: the fault table allows 150 ms for a pair of replicas, and
 * here more than twice as many processes want the same cores.
 */
const KILL_MS = 300
const WAKING_MS = LOOK_MS + KILL_MS

interface Period {
  readonly from: number
  to: number
}

/**
 * When launchers were kept from executing by the run itself. In a pod only the launcher can end the workload: the one
 * documented limit under which a workload may outlive its Lease (`launcher stands still`, `machine woke up`).
 */
class Stillness {
  readonly #periods = new Map<string, Period[]>()

  /** Its launcher stands still, until its end, or what is returned is called; calls after the first do nothing. */
  begin({ options: { identity }, container }: Pod): () => void {
    const period: Period = { from: mono(), to: Number.POSITIVE_INFINITY }
    this.#periods.set(identity, [...(this.#periods.get(identity) ?? []), period])
    const over = () => {
      period.to = Math.min(period.to, mono())
    }
    void container.gone.then(over)
    return over
  }

  /** Since when the launcher stood still at that time, both in monotonic ms, or had only just gone on. */
  since(identity: string, time: number): number | undefined {
    const periods = this.#periods.get(identity) ?? []
    return periods.find(({ from, to }) => time >= from && time <= to + WAKING_MS)?.from
  }
}

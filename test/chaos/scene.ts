import { createWriteStream, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startControlPlane } from '../harness/control-plane.ts'
import { BLOCKABLE } from '../harness/faults/catalogue.ts'
import { TcpProxy } from '../harness/faults/tcp-proxy.ts'
import type { LoggedProcess } from '../harness/logged-process.ts'
import { Pod } from '../harness/pod.ts'
import { ApiServerScene, type Place } from '../harness/scene.ts'
import { Random } from '../simulation/random.ts'
import { Kubelet } from './kubelet.ts'

export const REPLICAS = 5
const AGAIN_MS = 500

interface Options {
  readonly seed: number
  /** The program that the pods run. */
  readonly main: string
  /** Duration of the run. The pods' tokens must be valid for longer. */
  readonly minutes: number
}

/** Five pods on a real API server. Each pod has a proxy of its own as its link to the API server. */
export class ChaosScene extends ApiServerScene {
  readonly logs: string
  readonly seed: number
  readonly main: string
  readonly slots: Slot[] = []
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
      scene.atEnd(() => Promise.all(scene.slots.map(({ link }) => link.close())))
      scene.atEnd(() => Promise.all(scene.slots.map(({ kubelet }) => kubelet.kill())))
      for (let n = 0; n < REPLICAS; n++) scene.slots.push(await Slot.open(scene, n))
      return scene
    } catch (error) {
      await plane.close()
      throw error
    }
  }

  /** Runs kubectl as admin. Rejects if the API server doesn't answer within 5 s. */
  override kubectl(...args: string[]): Promise<{ stdout: string }> {
    return super.kubectl('--request-timeout=5s', ...args)
  }

  /** Repeats the action until it succeeds, because the API server may still be starting. */
  async untilDone(action: () => Promise<unknown>): Promise<void> {
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

  /** Kills all processes. `keep`: keeps the directory with the logs. */
  override async close(keep = false): Promise<void> {
    this.closed = true
    await this.end()
    if (!keep) rmSync(this.dir, { recursive: true })
  }
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyz'
/** The stop timeout. With the default of 30 s, a workload that ignores SIGTERM would fill most of a run. */
const STOP_TIMEOUT_S = 5

/** One place of the replica set. Its pods follow each other, each with an identity of its own, over the same link. */
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

  /** Starts a pod with a new identity. The last one, if there was one, has ended. */
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
        // A slow stop shows errors of programs that don't wait for its end.
        ...(this.#random.chance(0.4) ? ['ignore-term'] : []),
        ...(this.#random.chance(0.2) ? ['daemon'] : []),
        ...(this.#random.chance(0.2) ? ['unhealthy=2'] : []),
      ],
      agentFlags: [BLOCKABLE],
    }
    this.pod = await Pod.start(options, join(scene.dir, identity))
    this.kubelet = new Kubelet(this.pod, (process, part) => this.#keepLog(process, part))
    if (scene.closed) await this.kubelet.kill()
  }

  /** Ends the pod as planned, and then starts the next one. */
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

import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { TcpProxy } from '../harness/faults/tcp-proxy.ts'
import type { LoggedProcess } from '../harness/logged-process.ts'
import { Pod } from '../harness/pod.ts'
import { Random } from '../simulation/random.ts'
import { Kubelet } from './kubelet.ts'
import type { ChaosScene } from './scene.ts'

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
  #past = { restarts: 0, probeKills: 0 }

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

  /** Pods that there were so far. */
  get generations(): number {
    return this.#generation
  }

  get restarts(): number {
    return this.#past.restarts + this.kubelet.restarts
  }

  get probeKills(): number {
    return this.#past.probeKills + this.kubelet.probeKills
  }

  /** A new pod, under a new identity, where there was none or the last one has ended. */
  async fill(): Promise<void> {
    const scene = this.#scene
    if (this.#generation > 0) this.#past = { restarts: this.restarts, probeKills: this.probeKills }
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

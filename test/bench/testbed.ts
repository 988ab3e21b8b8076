import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import type { Beat } from '../harness/judge.ts'
import type { ApiServerScene } from '../harness/scene.ts'

/** The API server, and everything else that ends with the benchmark. */
export class Testbed {
  readonly plane: ControlPlane
  /** The program to measure. */
  readonly main: string
  readonly #ends: (() => Promise<unknown>)[] = []
  #closed: Promise<void> | undefined

  private constructor(plane: ControlPlane, main: string) {
    this.plane = plane
    this.main = main
  }

  static async open(main: string): Promise<Testbed> {
    const testbed = new Testbed(await startControlPlane({ audit: true }), main)
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const)
      process.once(signal, () => void testbed.close().finally(() => process.exit(code)))
    return testbed
  }

  /** Runs `measure`, then `close`. If the benchmark is interrupted, `close` runs too. */
  async using<R>(close: () => Promise<unknown>, measure: () => Promise<R>): Promise<R> {
    let closed: Promise<unknown> | undefined
    const once = () => {
      closed ??= close()
      return closed
    }
    this.#ends.push(once)
    try {
      return await measure()
    } finally {
      await once()
    }
  }

  /** Runs `play` on a scene, and resolves to the beats of its workloads. */
  async onScene<S extends ApiServerScene>(
    opened: Promise<S>,
    play: (scene: S) => Promise<unknown>,
  ): Promise<Beat[]> {
    const scene = await opened
    let beats: Beat[] = []
    const close = async () => {
      beats = await scene.finish()
    }
    await this.using(close, () => play(scene))
    return beats
  }

  /** The options of a replica with default timings and without a proxy to the API server. */
  direct(scene: ApiServerScene, identity: string) {
    if (this.#closed !== undefined) throw new Error('the benchmark is ending')
    const kubeconfig = scene.kubeconfig(identity, Number(new URL(this.plane.serverUrl).port))
    return { identity, kubeconfig, main: this.main, flags: [] as readonly string[] }
  }

  /** Ends everything. A second call waits for the same end. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    for (const end of this.#ends.reverse()) await end()
    await this.plane.close()
  }
}

const started = performance.now()

/** Prints progress to stderr. */
export function say(text: string): void {
  process.stderr.write(`${((performance.now() - started) / 1000).toFixed(0).padStart(5)} s  ${text}\n`)
}

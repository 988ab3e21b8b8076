import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const GUARD = join(import.meta.dirname, 'guard.sh')
const SHARED = join(import.meta.dirname, '../../../shared')

/** The scripts that start a cluster of one node, and what a cluster of theirs is told. */
export class Workbench {
  readonly #scripts: string
  readonly #env: NodeJS.ProcessEnv
  readonly #ownsCluster: boolean
  #guard: ChildProcess | undefined

  /**
   * `workdir`: where a cluster runs, or is to run, that is left running; without it one is started that ends with this
   * program, however that ends. Throws one sentence where the scripts are missing.
   */
  constructor(workdir?: string) {
    this.#scripts = process.env.CLUSTER_DIR ?? join(SHARED, 'cluster')
    if (!existsSync(join(this.#scripts, 'up')))
      throw new Error(
        `the tests on a cluster need the scripts that start one, and ${this.#scripts} has none: set CLUSTER_DIR to ` +
          'the directory with up, down, inside and load-image',
      )
    if (process.getuid?.() !== 0) throw new Error('the tests on a cluster need root, for its namespaces')
    this.#ownsCluster = workdir === undefined
    this.#env = {
      ...process.env,
      // Its name is the cluster's: no two may have the same.
      WORKDIR: workdir ?? join(tmpdir(), `langflow-leader-${randomBytes(4).toString('hex')}`),
      KUBE_BIN: programs(),
    }
  }

  /** Where images are kept that are made once: beside the programs, as the scripts do. */
  get images(): string {
    return process.env.IMAGES ?? join(this.#env.KUBE_BIN as string, 'images')
  }

  /** Runs one of the scripts. Rejects with what it says on stderr. */
  async script(name: string, ...args: readonly string[]): Promise<void> {
    const options = { env: this.#env, maxBuffer: 2 ** 26 }
    await run(join(this.#scripts, name), args, options).catch((error: Error & { stderr?: string }) => {
      throw new Error(`${name}: ${error.stderr?.trim() || error.message}`)
    })
  }

  /** Starts the cluster, unless it runs. */
  async up(): Promise<void> {
    // Its input ends with this program: not even SIGKILL leaves a cluster behind.
    if (this.#ownsCluster) this.#guard = this.#watch(join(this.#scripts, 'down'))
    await this.script('up')
  }

  /** Starts a program inside, with this one's output. */
  inside(command: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    return spawn(join(this.#scripts, 'inside'), command, {
      env: { ...this.#env, ...env },
      stdio: ['ignore', 'inherit', 'inherit'],
    })
  }

  /** Ends the cluster, unless it is to go on, and resolves once nothing of it is left. */
  async down(): Promise<void> {
    const guard = this.#guard ?? this.#watch('true')
    const ended = once(guard, 'exit')
    guard.stdin?.end()
    await ended
    this.#guard = undefined
  }

  #watch(end: string): ChildProcess {
    return spawn(GUARD, [end], { env: this.#env, detached: true, stdio: ['pipe', 'inherit', 'inherit'] })
  }
}

/** The directory of the cluster's programs. Throws one sentence that says how to get them. */
function programs(): string {
  const { KUBE_BIN, KUBEBUILDER_ASSETS } = process.env
  const unpack = join(SHARED, 'kubebuilder-assets/unpack')
  const found = [KUBE_BIN, KUBEBUILDER_ASSETS].find(
    (directory) => directory && existsSync(join(directory, 'kubelet')),
  )
  if (found) return found
  if (existsSync(unpack)) return execFileSync(unpack, { encoding: 'utf8' }).trim()
  throw new Error(
    'set KUBE_BIN to a directory with kubelet, kube-apiserver, etcd and the other programs of a cluster',
  )
}

import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { helmProgram } from '../deploy/helm.ts'
import type { Installation } from './installation.ts'

type Started = ChildProcessByStdio<null, Readable, null>

/** Limit for commands that end. Those of README wait for both pods. */
const WITHIN_MS = 300_000

/** Runs a guide's commands as a user does: in a checkout, with Helm, and a kubeconfig of the installation's namespace. */
export class UserShell {
  readonly directory = mkdtempSync(join(tmpdir(), 'user-'))
  readonly #started: Started[] = []
  readonly #options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv }

  private constructor() {
    const KUBECONFIG = join(this.directory, 'config')
    const { directory: HELM_CACHE_HOME, directory: HELM_CONFIG_HOME, directory: HELM_DATA_HOME } = this
    const PATH = `${dirname(helmProgram(4))}:${process.env.PATH}`
    const own = { HELM_CACHE_HOME, HELM_CONFIG_HOME, HELM_DATA_HOME, KUBECONFIG, PATH }
    const REGISTRY = 'docker.io/library'
    this.#options = { cwd: join(import.meta.dirname, '../..'), env: { ...process.env, ...own, REGISTRY } }
  }

  static async open(one: Installation): Promise<UserShell> {
    const shell = new UserShell()
    const { KUBECONFIG } = shell.#options.env
    writeFileSync(String(KUBECONFIG), await one.kubectl('config', 'view', '--flatten', '--minify'))
    await shell.run(`kubectl config set-context --current --namespace=${one.namespace}`)
    return shell
  }

  /** Resolves to the standard output. Rejects with the standard error if a command fails. */
  async run(commands: string): Promise<string> {
    const options = { ...this.#options, timeout: WITHIN_MS }
    return (await promisify(execFile)('sh', ['-e', '-c', commands], options)).stdout
  }

  /** Starts commands that run until this shell is closed. */
  start(commands: string): Started {
    const stdio = ['ignore', 'pipe', 'inherit'] as const
    const child = spawn('sh', ['-e', '-c', commands], { ...this.#options, stdio: [...stdio], detached: true })
    this.#started.push(child)
    return child
  }

  [Symbol.dispose](): void {
    // Each is the leader of a process group, with the programs that it runs.
    for (const { pid, exitCode } of this.#started) if (pid && exitCode === null) process.kill(-pid, 'SIGKILL')
    rmSync(this.directory, { recursive: true })
  }
}

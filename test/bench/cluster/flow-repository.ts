import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { until } from '../../harness/wait.ts'

const run = promisify(execFile)
const PORT = 9418
/** The tag that git-sync follows. */
export const TAG = 'production'

/** A bare repository, which `git daemon` serves to pods, and a clone to commit in. */
export class FlowRepository {
  readonly url: string
  private readonly directory = mkdtempSync(join(tmpdir(), 'flow-repository-'))
  private readonly bare = join(this.directory, 'served/flows')
  private readonly clone = join(this.directory, 'clone')
  private readonly daemon: ChildProcess
  private readonly address: string

  private constructor(address: string) {
    this.address = address
    this.url = `git://${address}/flows`
    execFileSync('git', ['init', '--quiet', '--bare', this.bare])
    execFileSync('git', ['clone', '--quiet', this.bare, this.clone], { stdio: 'ignore' })
    const served = dirname(this.bare)
    const options = ['--export-all', `--base-path=${served}`, `--listen=${address}`, '--reuseaddr']
    this.daemon = spawn('git', ['daemon', ...options, served], { stdio: 'ignore' })
  }

  /** `address`: one of the node that pods reach. */
  static async serve(address: string): Promise<FlowRepository> {
    const one = new FlowRepository(address)
    await until('git daemon listens', () => one.listens())
    return one
  }

  /** Commits a file in `flows`, moves the tag to the commit, and pushes both, as release.sh does. Resolves to the commit. */
  async commit(file: string, text: string): Promise<string> {
    mkdirSync(join(this.clone, 'flows'), { recursive: true })
    writeFileSync(join(this.clone, 'flows', file), text)
    const author = ['-c', 'user.name=test', '-c', 'user.email=test@example.com']
    await this.git('add', 'flows')
    await this.git(...author, 'commit', '--quiet', `--message=${file}`)
    await this.git('tag', '--force', TAG)
    await this.git('push', '--quiet', '--force', 'origin', 'HEAD', `refs/tags/${TAG}`)
    return this.git('rev-parse', 'HEAD')
  }

  async close(): Promise<void> {
    const exited = once(this.daemon, 'exit')
    this.daemon.kill('SIGTERM')
    await exited
    rmSync(this.directory, { recursive: true })
  }

  private async git(...args: string[]): Promise<string> {
    return (await run('git', args, { cwd: this.clone })).stdout.trim()
  }

  private async listens(): Promise<boolean> {
    const socket = connect(PORT, this.address)
    const answered = Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'close').then(() => false),
    ])
    const isOpen = await answered.catch(() => false)
    socket.destroy()
    return isOpen
  }
}

import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { LoggedProcess } from '../harness/logged-process.ts'

/** The user and the groups of a container's process. */
export interface User {
  readonly uid: number
  readonly gid: number
  readonly additionalGids?: readonly number[]
}

const USER: User = { uid: 1000, gid: 1000 }

export interface Mount {
  readonly source: string
  readonly destination: string
  readonly readOnly?: boolean
}

interface ContainerOptions {
  readonly root: string
  readonly args: readonly string[]
  readonly env?: readonly string[]
  readonly mounts?: readonly Mount[]
  readonly user?: User
}

/**
 * A runc container with the limits of restricted Pod Security: user 1000 or another one, no capabilities, no new privileges, a
 * read-only root. It uses the network of this machine. Signals go to its init process, and it ends with that process.
 */
export class Container extends LoggedProcess {
  constructor(options: ContainerOptions) {
    const directory = mkdtempSync(join(tmpdir(), 'container-'))
    const bundle = join(directory, 'bundle')
    mkdirSync(bundle)
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(specification(options)))
    const command = ['run', '--bundle', bundle, basename(directory)]
    super(options.args.join(' '), ['runc', '--root', join(directory, 'state'), ...command])
    void this.exited.then(() => rmSync(directory, { recursive: true, force: true }))
  }

  /** Waits for the end of the container, and returns its output and exit code. */
  async result(): Promise<{ code: number | null; output: string }> {
    const { code } = await this.exited
    return { code, output: this.output.join('\n') }
  }
}

interface VolumeOptions {
  readonly owner?: User
  readonly mode?: number
}

/** Creates a directory in `dir` that a container may write to. */
export function makeVolume(dir: string, { owner = USER, mode = 0o700 }: VolumeOptions = {}): string {
  const volume = mkdtempSync(join(dir, 'volume-'))
  chownSync(volume, owner.uid, owner.gid)
  chmodSync(volume, mode)
  return volume
}

/** https://github.com/opencontainers/runtime-spec/blob/main/config.md */
function specification({ root, args, env = [], mounts = [], user = USER }: ContainerOptions): object {
  const none: string[] = []
  return {
    ociVersion: '1.0.2',
    process: {
      user,
      args,
      env,
      cwd: '/',
      capabilities: { bounding: none, effective: none, inheritable: none, permitted: none, ambient: none },
      noNewPrivileges: true,
    },
    root: { path: root, readonly: true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=64k'] },
      ...mounts.map(({ source, destination, readOnly }) => ({
        destination,
        type: 'bind',
        source,
        options: ['bind', readOnly ? 'ro' : 'rw'],
      })),
    ],
    linux: { namespaces: ['pid', 'mount', 'ipc', 'uts'].map((type) => ({ type })) },
  }
}

import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { buildImage } from './build.ts'
import { Container, type Mount, type User } from './container.ts'

/** The configuration that the image gives to a container runtime. */
interface ImageConfig {
  readonly User: string
  readonly Env: readonly string[]
  readonly Entrypoint: readonly string[]
  readonly Cmd: readonly string[]
  readonly Labels: Readonly<Record<string, string>>
}

interface Manifest {
  readonly Config: string
  readonly Layers: readonly string[]
}

/** The directory with tini, node and the program. */
export const PROGRAM = '/usr/lib/langflow-leader'

/** The built and unpacked image. */
export class Image {
  readonly config: ImageConfig
  /** The root directory of its containers, which must not change. */
  readonly root: string
  /** The user of its containers. `undefined`: the default. */
  private readonly user: User | undefined

  private constructor(config: ImageConfig, root: string, user?: User) {
    this.config = config
    this.root = root
    this.user = user
  }

  /** Unpacks the image below `dir`, and builds it first if necessary. */
  static async unpack(dir: string): Promise<Image> {
    const [archive, root] = [join(dir, 'archive'), join(dir, 'root')]
    for (const path of [archive, root]) mkdirSync(path)
    execFileSync('tar', ['-xf', await buildImage(), '-C', archive])
    const json = (name: string) => JSON.parse(readFileSync(join(archive, name), 'utf8'))
    const [manifest] = json('manifest.json') as [Manifest]
    const layers = manifest.Layers.map((name) => join(archive, name))
    for (const layer of layers) execFileSync('tar', ['-xpf', layer, '-C', root])
    return new Image((json(manifest.Config) as { config: ImageConfig }).config, root)
  }

  /** The same image for containers of another user. */
  as(user: User): Image {
    return new Image(this.config, this.root, user)
  }

  /** The absolute paths of its files. */
  files(): string[] {
    return readdirSync(this.root, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => `/${relative(this.root, join(entry.parentPath, entry.name))}`)
      .sort()
  }

  /** The paths of its executable files. */
  programs(): string[] {
    return this.files().filter((path) => {
      const stat = lstatSync(this.path(path))
      return stat.isFile() && stat.mode & 0o111
    })
  }

  /** The path of an image's file on this machine. */
  path(inImage: string): string {
    return join(this.root, inImage)
  }

  /** Starts the image's entrypoint with these arguments, as a pod does. */
  start(args: readonly string[], mounts: readonly Mount[] = []): Container {
    return this.execute([...this.config.Entrypoint, ...args], mounts)
  }

  /** Starts the agent as `deploy/langflow.yaml` does. `kubeconfig` and `state` are a file and a directory on this machine. */
  startAgent(flags: readonly string[], kubeconfig: string, sockets: Mount, state: string): Container {
    const args = ['agent', '--kubeconfig=/dev/kubeconfig', '--identity=a', '--lease-namespace=default']
    return this.start(
      [...args, ...flags],
      [
        sockets,
        { source: state, destination: '/var/lib/langflow-leader' },
        { source: kubeconfig, destination: '/dev/kubeconfig', readOnly: true },
      ],
    )
  }

  /** Executes a command in the image, as `kubectl exec` does. */
  execute(args: readonly string[], mounts: readonly Mount[] = []): Container {
    const { root, user, config } = this
    return new Container({ root, args, env: config.Env, mounts, ...(user && { user }) })
  }
}

import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { gzipSync } from 'node:zlib'
import { buildImage } from './build.ts'
import { Container, type Mount } from './container.ts'

/** What the image tells a runtime. */
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

/** Where it has tini, node and the program. */
export const PROGRAM = '/usr/lib/langflow-leader'

/** The image, built and unpacked. */
export class Image {
  readonly config: ImageConfig
  /** The root directory of its containers; nothing may be written there. */
  readonly root: string
  private readonly layers: readonly string[]

  private constructor(config: ImageConfig, root: string, layers: readonly string[]) {
    this.config = config
    this.root = root
    this.layers = layers
  }

  /** Unpacks it below `dir`, building it first where that is due. */
  static async unpack(dir: string): Promise<Image> {
    const [archive, root] = [join(dir, 'archive'), join(dir, 'root')]
    for (const path of [archive, root]) mkdirSync(path)
    execFileSync('tar', ['-xf', await buildImage(), '-C', archive])
    const json = (name: string) => JSON.parse(readFileSync(join(archive, name), 'utf8'))
    const [manifest] = json('manifest.json') as [Manifest]
    const layers = manifest.Layers.map((name) => join(archive, name))
    for (const layer of layers) execFileSync('tar', ['-xpf', layer, '-C', root])
    return new Image((json(manifest.Config) as { config: ImageConfig }).config, root, layers)
  }

  /** What a registry stores and a node downloads, in bytes. */
  compressedSize(): number {
    return this.layers.reduce((sum, layer) => sum + gzipSync(readFileSync(layer)).length, 0)
  }

  /** The paths of its files, each from `/`. */
  files(): string[] {
    return readdirSync(this.root, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => `/${relative(this.root, join(entry.parentPath, entry.name))}`)
      .sort()
  }

  /** Those of its files that can be executed. */
  programs(): string[] {
    return this.files().filter((path) => {
      const stat = lstatSync(this.path(path))
      return stat.isFile() && stat.mode & 0o111
    })
  }

  /** Of a file of the image, on this machine. */
  path(inImage: string): string {
    return join(this.root, inImage)
  }

  /** As a pod starts it, with these arguments instead of the image's. */
  start(args: readonly string[], mounts: readonly Mount[] = []): Container {
    return this.execute([...this.config.Entrypoint, ...args], mounts)
  }

  /** As `deploy/base` does. `kubeconfig` and `state`: a file and a directory on this machine. */
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

  /** As `kubectl exec` does. */
  execute(args: readonly string[], mounts: readonly Mount[] = []): Container {
    return new Container({ root: this.root, args, env: this.config.Env, mounts })
  }
}

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { GIT_SYNC_IMAGE, POSTGRES_IMAGE } from './workload.ts'

const TIMEOUT_MS = 10 * 60_000

interface ImageSources {
  /** The image's name in manifests. */
  readonly tag: string
  /** Dockerfile, whose base is the Node image, and the files that it copies: a path here, and the name there. */
  readonly files: readonly (readonly [path: string, name: string])[]
}

/** PostgreSQL for the chart's database. */
export function buildPostgresImage(images: string): string {
  return buildArchive(images, { tag: POSTGRES_IMAGE, files: filesOf('postgres-image', ['entrypoint.sh']) })
}

/** git-sync for the chart's flows, with this program. */
export function buildGitSyncImage(images: string, program: string): string {
  const files = [...filesOf('git-sync-image'), [program, 'git-sync'] as const]
  return buildArchive(images, { tag: GIT_SYNC_IMAGE, files })
}

function filesOf(directory: string, more: readonly string[] = []): [path: string, name: string][] {
  return ['Dockerfile', ...more].map((name) => [join(import.meta.dirname, directory, name), name])
}

/**
 * Returns the image as a docker-archive in `images`, and builds it if its sources have changed. Throws the output of a
 * program that fails.
 */
function buildArchive(images: string, { tag, files }: ImageSources): string {
  const hash = createHash('sha256')
  for (const [path] of files) hash.update(readFileSync(path))
  const name = basename(tag).replace(/:.*/, '')
  const archive = join(images, 'on-demand', `${name}-${hash.digest('hex').slice(0, 12)}.tar`)
  if (existsSync(archive)) return archive
  const scratch = mkdtempSync(join(tmpdir(), `${name}-image-`))
  try {
    const context = join(scratch, 'context')
    mkdirSync(context)
    for (const [path, file] of files) copyFileSync(path, join(context, file))
    const draft = join(scratch, 'image.tar')
    // A mount namespace leaves nothing mounted, and stores of its own leave nothing in the machine's image store.
    const buildah = (...args: string[]) =>
      run('unshare', ['--mount', 'buildah', `--root=${scratch}/root`, `--runroot=${scratch}/run`, ...args])
    buildah('pull', '--quiet', `docker-archive:${join(images, 'node.tar')}`)
    buildah('bud', '--pull-never', '--isolation=chroot', `--tag=${tag}`, context)
    buildah('push', '--quiet', tag, `docker-archive:${draft}:${tag}`)
    copyFileSync(draft, `${archive}.part`)
    renameSync(`${archive}.part`, archive)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
  return archive
}

function run(program: string, args: readonly string[]): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    maxBuffer: 2 ** 26,
  })
}

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { POSTGRES_IMAGE } from '../workload.ts'

const HERE = import.meta.dirname
const SOURCES = ['Dockerfile', 'entrypoint.sh', 'build.ts']
const TIMEOUT_MS = 10 * 60_000

/**
 * Returns the image as a docker-archive in `images`, and builds it if its sources have changed. Throws the output of a
 * program that fails.
 */
export function buildPostgresImage(images: string): string {
  const hash = createHash('sha256')
  for (const file of SOURCES) hash.update(readFileSync(join(HERE, file)))
  const archive = join(images, 'on-demand', `postgres-${hash.digest('hex').slice(0, 12)}.tar`)
  if (existsSync(archive)) return archive
  const scratch = mkdtempSync(join(tmpdir(), 'postgres-image-'))
  try {
    const context = join(scratch, 'context')
    mkdirSync(context)
    for (const file of SOURCES) copyFileSync(join(HERE, file), join(context, file))
    const draft = join(scratch, 'image.tar')
    // A mount namespace leaves nothing mounted, and stores of its own leave nothing in the machine's image store.
    const buildah = (...args: string[]) =>
      run('unshare', ['--mount', 'buildah', `--root=${scratch}/root`, `--runroot=${scratch}/run`, ...args])
    buildah('pull', '--quiet', `docker-archive:${join(images, 'node.tar')}`)
    buildah('bud', '--pull-never', '--isolation=chroot', `--tag=${POSTGRES_IMAGE}`, context)
    buildah('push', '--quiet', POSTGRES_IMAGE, `docker-archive:${draft}:${POSTGRES_IMAGE}`)
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

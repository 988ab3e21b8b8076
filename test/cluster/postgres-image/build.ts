import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const HERE = import.meta.dirname
const SOURCES = ['Dockerfile', 'entrypoint.sh', 'build.ts']
/** As deploy/components/postgresql is told to use it. */
export const POSTGRES_IMAGE = 'localhost/postgres:15'
const TIMEOUT_MS = 10 * 60_000

/**
 * The image as a docker-archive in `images`, made once and again where its sources or the LangFlow image change. Throws
 * what the failing program says.
 */
export function buildPostgresImage(images: string, langflow: string): string {
  const hash = createHash('sha256').update(`${statSync(langflow).mtimeMs}`)
  for (const file of SOURCES) hash.update(readFileSync(join(HERE, file)))
  const archive = join(images, 'on-demand', `postgres-${hash.digest('hex').slice(0, 12)}.tar`)
  if (existsSync(archive)) return archive
  const scratch = mkdtempSync(join(tmpdir(), 'postgres-image-'))
  try {
    const context = join(scratch, 'context')
    mkdirSync(context)
    for (const file of SOURCES) copyFileSync(join(HERE, file), join(context, file))
    installPsycopg(scratch, join(context, 'psycopg'), psycopgOf(langflow))
    const draft = join(scratch, 'image.tar')
    // In a mount namespace, so that nothing stays mounted; and nothing is left in the machine's own store.
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

/** Which psycopg is in the LangFlow image: the compiled part must be of the same version. */
function psycopgOf(langflow: string): string {
  const layer = run('tar', ['-tf', langflow]).split('\n')[0]
  const listed = run('sh', [
    '-c',
    `tar -xOf '${langflow}' '${layer}' | tar -t | grep -o 'psycopg-[0-9.]*[.]dist-info' | head -n 1`,
  ])
  const version = /^psycopg-(.+)\.dist-info/.exec(listed)?.[1]
  if (version === undefined) throw new Error(`${langflow} has no psycopg`)
  return version
}

function installPsycopg(scratch: string, target: string, version: string): void {
  const tools = join(scratch, 'tools')
  run('python3', ['-m', 'venv', tools])
  const what = ['--quiet', '--no-deps', '--only-binary=:all:', '--python-version=3.11', `--target=${target}`]
  run(join(tools, 'bin/pip'), ['install', ...what, `psycopg-binary==${version}`])
}

function run(program: string, args: readonly string[]): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    maxBuffer: 2 ** 26,
  })
}

// usage: node test/image/build.ts [OUT.tar]
// Builds the image with buildah, as root, and prints the path of its docker-archive.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { VERSION } from '../../agent/version.ts'

const ROOT = join(import.meta.dirname, '../..')
const CACHE = join(ROOT, '.cache/image')
const BASE = 'docker.io/library/node:24-bookworm-slim'
/** The full name that containerd and Docker give to `langflow-leader:VERSION`. */
export const IMAGE = `docker.io/library/langflow-leader:${VERSION}`
const TIMEOUT_MS = 10 * 60_000
/** Number of archives to keep, 115 MB each. */
const KEPT = 3
/** The Dockerfile and the files that it copies. */
const INPUTS = [
  'Dockerfile',
  '.dockerignore',
  '.npmrc',
  'LICENSE',
  'package.json',
  'package-lock.json',
  'agent/**/*',
  'deploy/bundle/*',
  'deploy/image/*',
]

/**
 * Returns the image as a docker-archive in `.cache/image`, and builds it only if its inputs have changed. Leaves nothing in the
 * machine's image store. Throws with a hint if buildah or the base image is missing.
 */
export async function buildImage(): Promise<string> {
  const base = baseArchive()
  const archive = join(CACHE, `${digest(base)}.tar`)
  if (existsSync(archive)) return archive
  mkdirSync(CACHE, { recursive: true })
  // In a container, the temporary directory may be on an overlay, on which buildah can't mount another one.
  const scratch = mkdtempSync(join(CACHE, 'build-'))
  try {
    const draft = join(scratch, 'image.tar')
    build(scratch, base, draft)
    renameSync(draft, archive)
    forget()
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
  return archive
}

/** Removes old archives, but keeps the newest ones, which another run may be using. */
function forget(): void {
  const all = globSync(join(CACHE, '*.tar'))
  const age = (path: string) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
  for (const old of all.sort((a, b) => age(b) - age(a)).slice(KEPT)) rmSync(old, { force: true })
}

/** The base image as a file, for machines without an image registry. `undefined`: buildah pulls it. */
function baseArchive(): string | undefined {
  const { NODE_IMAGE_TAR, KUBE_BIN, KUBEBUILDER_ASSETS } = process.env
  if (NODE_IMAGE_TAR) return NODE_IMAGE_TAR
  const places = [KUBE_BIN, KUBEBUILDER_ASSETS].flatMap((dir) => (dir ? [join(dir, 'images/node.tar')] : []))
  return places.find((path) => existsSync(path))
}

function digest(base: string | undefined): string {
  const hash = createHash('sha256').update(
    base ? `${base} ${statSync(base, { throwIfNoEntry: false })?.mtimeMs}` : BASE,
  )
  const files = INPUTS.flatMap((pattern) => globSync(pattern, { cwd: ROOT })).sort()
  for (const file of files.filter((path) => statSync(join(ROOT, path)).isFile()))
    hash.update(`${file}\0`).update(readFileSync(join(ROOT, file)))
  return hash.digest('hex').slice(0, 16)
}

function build(scratch: string, base: string | undefined, archive: string): void {
  const store = ['--root', join(scratch, 'root'), '--runroot', join(scratch, 'run')]
  const from = base ? `docker-archive:${base}` : BASE
  buildah(
    [...store, 'pull', '--quiet', from],
    `no base image ${BASE}: build it with ../shared/cluster/build-images and set KUBE_BIN, or set NODE_IMAGE_TAR to an archive of it`,
  )
  buildah([
    ...store,
    'bud',
    '--pull-never',
    '--isolation=chroot',
    '--format=oci',
    ...npmSettings(scratch),
    `--tag=${IMAGE}`,
    ROOT,
  ])
  buildah([...store, 'push', '--quiet', IMAGE, `docker-archive:${archive}:${IMAGE}`])
}

/** Runs buildah in a mount namespace, so that nothing stays mounted. Throws `hint`, if given, and its last output. */
function buildah(args: readonly string[], hint?: string): void {
  try {
    execFileSync('unshare', ['--mount', 'buildah', ...args], {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: TIMEOUT_MS,
      maxBuffer: 64 * 1024 * 1024,
    })
  } catch (error) {
    const { stderr = '', stdout = '', message } = error as Error & { stderr?: string; stdout?: string }
    if (/buildah: No such file|failed to execute buildah/.test(stderr))
      throw new Error('buildah is not installed (Debian: apt-get install buildah)')
    const output = `${stdout}${stderr}`.trim().split('\n').slice(-20).join('\n') || message
    throw new Error(hint ? `${hint} (${output.split('\n').at(-1)})` : `the build failed:\n${output}`)
  }
}

/** Mounts that give the build's npm the registry and the certificates of this machine's npm. */
function npmSettings(scratch: string): string[] {
  const setting = (name: string) => {
    const value = execFileSync('npm', ['config', 'get', name], { cwd: ROOT, encoding: 'utf8' }).trim()
    return ['null', 'undefined', ''].includes(value) ? undefined : value
  }
  const certificates = setting('cafile') ?? process.env.NODE_EXTRA_CA_CERTS
  const inside = '/usr/local/etc/npm-certificates.crt'
  const npmrc = join(scratch, 'npmrc')
  const lines = [`registry=${setting('registry')}`, ...(certificates ? [`cafile=${inside}`] : [])]
  writeFileSync(npmrc, `${lines.join('\n')}\n`)
  return [
    `--volume=${npmrc}:/usr/local/etc/npmrc:ro`,
    ...(certificates ? [`--volume=${certificates}:${inside}:ro`] : []),
  ]
}

if (import.meta.main) {
  const archive = await buildImage()
  const [out] = process.argv.slice(2)
  if (out) copyFileSync(archive, resolve(out))
  process.stdout.write(`${out ? resolve(out) : archive}\n`)
}

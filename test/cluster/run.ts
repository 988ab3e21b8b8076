// `npm run test:cluster`: builds the images, starts a cluster, runs the tests inside it, and ends it.
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, globSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { buildImage } from '../image/build.ts'
import { buildGitSyncImage, buildPostgresImage } from './image-archive.ts'

const ROOT = join(import.meta.dirname, '../..')
const SHARED = join(ROOT, '../shared')
const SCRIPTS = process.env.CLUSTER_DIR ?? join(SHARED, 'cluster')
const USAGE = `usage: npm run test:cluster -- [--keep DIR] [--script FILE] [--langflow] [--git-sync FILE] [FILE ...]

  FILE          Test files to run. Default: test/cluster/*.cluster.ts
  --keep DIR    Use the cluster in DIR, start it if it doesn't run, and leave it running.
  --script FILE Run this program inside the cluster instead of tests, with all arguments after --.
  --langflow    Load the images of LangFlow and PostgreSQL. Tests that need them get them without this flag.
  --git-sync FILE  Load an image of git-sync with this program.`

const text = { type: 'string' } as const
const flag = { type: 'boolean' } as const
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { keep: text, script: text, langflow: flag, 'git-sync': text, help: flag },
})
if (values.help) {
  process.stdout.write(`${USAGE}\n`)
  process.exit()
}

/** The files that take the longest begin first, so that all end at about the same time. */
const FIRST = ['chart', 'production', 'base', 'adopted'].map((name) => `test/cluster/${name}.cluster.ts`)
/** Whether a test file must run alone, needs the real LangFlow, or neither. */
function kindOf(file: string): 'alone' | 'LangFlow' | 'any' {
  if (file.endsWith('node.cluster.ts')) return 'alone'
  return file.endsWith('langflow.cluster.ts') ? 'LangFlow' : 'any'
}

const started = performance.now()
/** Runs one step, and prints its duration. */
async function step<T>(name: string, play: () => Promise<T>): Promise<T> {
  const from = performance.now()
  const seconds = (ms: number) => ((performance.now() - ms) / 1000).toFixed(0)
  try {
    return await play()
  } finally {
    process.stderr.write(`[${seconds(started)} s] ${name}: ${seconds(from)} s\n`)
  }
}

/** Returns the directory of the cluster's programs. Throws with a hint if there is none. */
function programs(): string {
  const { KUBE_BIN, KUBEBUILDER_ASSETS } = process.env
  const unpack = join(SHARED, 'kubebuilder-assets/unpack')
  const found = [KUBE_BIN, KUBEBUILDER_ASSETS].find((place) => place && existsSync(join(place, 'kubelet')))
  if (found) return found
  if (existsSync(unpack)) return execFileSync(unpack, { encoding: 'utf8' }).trim()
  throw new Error(
    'no kubelet found: set KUBE_BIN to a directory with kubelet, kube-apiserver, etcd and the other programs of a cluster',
  )
}

async function main(): Promise<number> {
  if (!existsSync(join(SCRIPTS, 'up')))
    throw new Error(
      `cluster tests need the scripts that start a cluster, and ${SCRIPTS} has none: set CLUSTER_DIR to ` +
        'the directory with up, down, inside and load-image',
    )
  if (process.getuid?.() !== 0) throw new Error('cluster tests need root to create namespaces')
  // The directory's name becomes the cluster's name, so it must be unique.
  const WORKDIR = values.keep ?? join(tmpdir(), `langflow-leader-${randomBytes(4).toString('hex')}`)
  const env = { ...process.env, WORKDIR, KUBE_BIN: programs() }
  const images = process.env.IMAGES ?? join(env.KUBE_BIN, 'images')
  /** Runs one of the scripts. Rejects with its standard error. */
  const script = (name: string, ...args: readonly string[]) =>
    promisify(execFile)(join(SCRIPTS, name), args, { env, maxBuffer: 2 ** 26 }).catch((error) => {
      throw new Error(`${name}: ${error.stderr?.trim() || error.message}`)
    })

  let stopped = 0
  let inside: ChildProcess | undefined
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.on(signal, () => {
      stopped = code
      inside?.kill('SIGTERM')
    })
  /** Runs a program inside the cluster with the output of this one, and resolves to its exit code. */
  const run = async (command: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<number> => {
    if (stopped !== 0) return stopped
    inside = spawn(join(SCRIPTS, 'inside'), [process.execPath, ...command], {
      env: { ...env, ...more },
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    const [code] = await once(inside, 'exit')
    return stopped || (code ?? 1)
  }
  const tests = async (files: readonly string[], concurrency: number): Promise<number> => {
    if (files.length === 0) return 0
    const paths = files.map((file) => relative(process.cwd(), join(ROOT, file)))
    const runner = join(ROOT, 'test/run.ts')
    return step(paths.join(' '), () => run([runner, ...paths], { CONCURRENCY: String(concurrency) }))
  }

  const all =
    positionals.length > 0
      ? positionals
      : [...new Set([...FIRST, ...globSync('test/cluster/*.cluster.ts', { cwd: ROOT }).sort()])]
  const files = Object.groupBy(values.script === undefined ? all : [], kindOf)
  if (!existsSync(join(images, 'node.tar'))) await step('base images', () => script('build-images'))
  process.env.NODE_IMAGE_TAR ??= join(images, 'node.tar')
  const image = await step('image', buildImage)
  const onDemand: string[] = []
  if (values.langflow || files.LangFlow) {
    const langflow = join(images, 'on-demand/langflow.tar')
    if (!existsSync(langflow)) await step('LangFlow image', () => script('build-langflow-image'))
    onDemand.push(await step('PostgreSQL image', async () => buildPostgresImage(images)), langflow)
  }
  const gitSync = values['git-sync']
  if (gitSync !== undefined)
    onDemand.push(await step('git-sync image', async () => buildGitSyncImage(images, gitSync)))
  // The guard's input ends with this program, so the cluster ends even if this program is killed.
  const end = values.keep === undefined ? join(SCRIPTS, 'down') : 'true'
  const guard = spawn(join(import.meta.dirname, 'guard.sh'), [end], {
    env,
    detached: true,
    stdio: ['pipe', 'inherit', 'inherit'],
  })
  try {
    if (stopped === 0) await step('cluster', () => script('up'))
    if (stopped === 0) await script('load-image', image)
    // Loading LangFlow's image takes a minute, so it runs beside the first tests, which mostly wait.
    const loaded = step('load of the large images', () => script('load-image', ...onDemand))
    loaded.catch(() => {})
    if (values.script !== undefined) {
      await loaded
      return await run([values.script, ...positionals])
    }
    const codes = [await tests(files.alone ?? [], 1), await tests(files.any ?? [], 2)]
    await loaded
    codes.push(await tests(files.LangFlow ?? [], 1))
    return codes.find((code) => code !== 0) ?? 0
  } catch (error) {
    // After a signal, the error is only a consequence of it.
    if (stopped !== 0) return stopped
    throw error
  } finally {
    const ended = once(guard, 'exit')
    guard.stdin?.end()
    await step('end of the cluster', () => ended)
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = 2
}

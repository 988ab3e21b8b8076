// What npm run test:cluster runs: makes the images, starts a cluster, plays the tests inside it, and ends it.
import { once } from 'node:events'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { buildImage } from '../image/build.ts'
import { buildPostgresImage } from './postgres-image/build.ts'
import { Workbench } from './workbench.ts'

const ROOT = join(import.meta.dirname, '../..')
const USAGE = `usage: npm run test:cluster -- [--keep DIR] [--script FILE] [--langflow] [FILE ...]

  FILE          only these, by default test/cluster/*.cluster.ts
  --keep DIR    the cluster in DIR, started where it does not run, and left running
  --script FILE a program that is run inside instead of tests; it is given all that follows --
  --langflow    with the images of LangFlow and PostgreSQL, which only some tests need and get`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    keep: { type: 'string' },
    script: { type: 'string' },
    langflow: { type: 'boolean' },
    help: { type: 'boolean' },
  },
})
if (values.help) {
  process.stdout.write(`${USAGE}\n`)
  process.exit()
}

const started = performance.now()
/** Plays one step, and says how long it took. */
async function step<T>(name: string, play: () => Promise<T>): Promise<T> {
  const from = performance.now()
  const result = await play()
  const seconds = (ms: number) => ((performance.now() - ms) / 1000).toFixed(0)
  process.stderr.write(`[${seconds(started)} s] ${name}: ${seconds(from)} s\n`)
  return result
}

async function main(): Promise<number> {
  const bench = new Workbench(values.keep)
  const files =
    values.script !== undefined
      ? []
      : positionals.length > 0
        ? positionals
        : globSync('test/cluster/*.cluster.ts', { cwd: ROOT }).sort()
  let stopped = 0
  let inside: ReturnType<Workbench['inside']> | undefined
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.on(signal, () => {
      stopped = code
      inside?.kill('SIGTERM')
    })
  const unlessStopped = async (name: string, play: () => Promise<unknown>) => {
    if (stopped === 0) await step(name, play)
  }
  try {
    const langflow =
      values.langflow ||
      files.some((file) => readFileSync(join(ROOT, file), 'utf8').includes('real-langflow.ts'))
    if (!existsSync(join(bench.images, 'node.tar')))
      await step('base images', () => bench.script('build-images'))
    process.env.NODE_IMAGE_TAR ??= join(bench.images, 'node.tar')
    const images = [await step('image', buildImage)]
    if (langflow) {
      const tar = join(bench.images, 'on-demand/langflow.tar')
      if (!existsSync(tar)) await unlessStopped('LangFlow image', () => bench.script('build-langflow-image'))
      images.push(await step('PostgreSQL image', async () => buildPostgresImage(bench.images)), tar)
    }
    await unlessStopped('cluster', () => bench.up())
    await unlessStopped('load images', () => bench.script('load-image', ...images))
    if (stopped !== 0) return stopped
    const command = values.script
      ? [process.execPath, values.script, ...positionals]
      : [
          process.execPath,
          '--test',
          '--test-concurrency=1',
          ...files.map((file) => relative(process.cwd(), file)),
        ]
    inside = bench.inside(command)
    const [code] = await step('tests', () => once(inside as NonNullable<typeof inside>, 'exit'))
    return stopped || (code ?? 1)
  } catch (error) {
    // What is stopped half-way says so as well.
    if (stopped !== 0) return stopped
    throw error
  } finally {
    await step('end of the cluster', () => bench.down())
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = 2
}

// usage: node test/run.ts unit | e2e | faults
//        node test/run.ts FILE...
// Runs the files of `npm test`, of `npm run test:e2e` or of the fault table; or the given files, in their order, CONCURRENCY at a
// time. (`node --test` sorts its files by name.)

import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

interface Suite {
  readonly files: string
  /** These files take the longest. If they began last, the other cores would be idle until they end. */
  readonly first: readonly string[]
  /** No other test may run beside these files. */
  readonly alone?: string
  readonly concurrency: number
}

function inOrder(folder: string, names: string): string[] {
  return names.split(' ').map((name) => `${folder}/${name}.e2e.ts`)
}

const SUITES: Readonly<Record<string, Suite>> = {
  unit: {
    files: 'test/**/*.test.ts',
    first: [
      'test/simulation/*.test.ts',
      'test/front/{security,hop,conformance}.test.ts',
      'test/fault-table/*.test.ts',
      'test/demo/*.test.ts',
    ],
    // They inspect all processes of the machine.
    alone: 'test/**/process-*.test.ts',
    // Most files wait for processes most of the time, so more of them run than the machine has cores.
    concurrency: availableParallelism() + 2,
  },
  e2e: {
    files: 'test/e2e/*.e2e.ts',
    first: inOrder(
      'test/e2e',
      'flows-pipeline state warm restart playground database stopping versions front operate rollout content',
    ),
    // A LangFlow that starts needs a core.
    concurrency: 2,
  },
  faults: {
    files: 'test/fault-table/*.e2e.ts',
    first: inOrder('test/fault-table', 'failsafe network revisions api-server clocks ending'),
    // Its limits are the narrowest.
    alone: 'test/fault-table/processes.e2e.ts',
    // The cases mostly wait.
    concurrency: 3,
  },
}

const interrupt = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    process.exitCode = 130
    interrupt.abort()
  })

/** Starts the files in their order. */
async function play(files: string[], concurrency: number): Promise<void> {
  if (files.length === 0) throw new Error('no test file matches')
  const events = run({ files, concurrency, signal: interrupt.signal })
  events.on('test:fail', () => {
    process.exitCode ||= 1
  })
  events.on('test:summary', ({ file, counts }) => {
    if (file === undefined && counts.passed === 0) process.exitCode = 1
  })
  for await (const line of events.compose(spec)) process.stdout.write(line)
}

/** Throws if a pattern has no file, such as that of a file that was renamed. */
function matching(pattern: string): string[] {
  const found = globSync(pattern).sort()
  if (found.length === 0) throw new Error(`no file matches ${pattern}`)
  return found
}

async function playSuite({ files, first, alone = '', concurrency }: Suite): Promise<void> {
  const last = globSync(alone)
  const all = new Set([...first, files].flatMap(matching))
  await play(
    [...all].filter((file) => !last.includes(file)),
    concurrency,
  )
  if (last.length > 0 && !interrupt.signal.aborted) await play(last, 1)
}

const words = process.argv.slice(2)
const suite = SUITES[words[0] ?? '']
await (suite === undefined ? play(words, Number(process.env.CONCURRENCY ?? 1)) : playSuite(suite))

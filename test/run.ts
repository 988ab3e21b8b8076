// What `npm test` runs.

import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

/** They take the longest; begun last, they would keep one core waiting for them. */
const FIRST = [
  'test/simulation/*.test.ts',
  'test/front/{security,hop,conformance}.test.ts',
  'test/fault-table/*.test.ts',
]
/** They look at the processes of the whole machine. */
const ALONE = 'test/**/process-*.test.ts'

const alone = globSync(ALONE)
const beside = [...new Set([...FIRST, 'test/**/*.test.ts'].flatMap((pattern) => globSync(pattern).sort()))]

/** Runs the files in their order. */
async function play(files: string[], concurrency: number): Promise<void> {
  if (files.length === 0) throw new Error('there is no test')
  const events = run({ files, concurrency })
  events.on('test:fail', () => {
    process.exitCode = 1
  })
  events.on('test:summary', ({ file, counts }) => {
    if (file === undefined && counts.passed === 0) process.exitCode = 1
  })
  for await (const line of events.compose(spec)) process.stdout.write(line)
}

// Most of them wait for processes most of the time.
await play(
  beside.filter((file) => !alone.includes(file)),
  availableParallelism() + 2,
)
await play(alone, 1)

// Runs the tests of `npm test`.

import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

/** These files take the longest. If they began last, the other cores would be idle until they end. */
const FIRST = [
  'test/simulation/*.test.ts',
  'test/front/{security,hop,conformance}.test.ts',
  'test/fault-table/*.test.ts',
]
/** These files inspect all processes of the machine, so no other test may run beside them. */
const ALONE = 'test/**/process-*.test.ts'

const alone = globSync(ALONE)
const beside = [...new Set([...FIRST, 'test/**/*.test.ts'].flatMap((pattern) => globSync(pattern).sort()))]

/** Starts the files in their order. */
async function play(files: string[], concurrency: number): Promise<void> {
  if (files.length === 0) throw new Error('no test file matches')
  const events = run({ files, concurrency })
  events.on('test:fail', () => {
    process.exitCode = 1
  })
  events.on('test:summary', ({ file, counts }) => {
    if (file === undefined && counts.passed === 0) process.exitCode = 1
  })
  for await (const line of events.compose(spec)) process.stdout.write(line)
}

// Most files wait for processes most of the time, so more of them run than the machine has cores.
await play(
  beside.filter((file) => !alone.includes(file)),
  availableParallelism() + 2,
)
await play(alone, 1)

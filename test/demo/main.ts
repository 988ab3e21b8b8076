// What `npm run demo` runs.

import { parseArgs } from 'node:util'
import { runDemo } from './demo.ts'

const USAGE = `usage: npm run demo -- [--stay] [--json] [--fast]

Three replicas take over from each other, on an API server of the demo's own: after a crash, a planned stop, and a hang.

  --stay   no faults: the replicas stay until Ctrl-C, for the commands that operate them
  --json   progress on stderr, and the result as one JSON object on stdout
  --fast   a Lease of 3 s instead of 15 s

Exit code 0: three takeovers, and no two replicas acted at once; 1: something went wrong; 2: wrong usage.`

const flag = { type: 'boolean', default: false } as const
try {
  const { help, ...options } = parseArgs({
    options: { help: flag, stay: flag, json: flag, fast: flag },
  }).values
  if (help) console.log(USAGE)
  else process.exitCode = await runDemo(options)
} catch (error) {
  if (!(error instanceof TypeError)) throw error
  console.error(`${error.message}\n\n${USAGE}`)
  process.exitCode = 2
}

// The entry point of `npm run demo`.

import { parseArgs } from 'node:util'
import { runDemo } from './demo.ts'

const USAGE = `usage: npm run demo -- [--stay] [--json] [--fast]

Plays three takeovers between three replicas: after a crash, a planned stop and a hang. The demo brings its own API server.

  --stay   cause no faults; keep the replicas until Ctrl-C, so that you can try the commands
  --json   print progress to stderr, and the result as one JSON object to stdout
  --fast   use a lease duration of 7 s instead of 15 s

Exit codes: 0 if all takeovers succeeded and no two replicas acted at the same time, 1 after a failure, 2 for wrong usage.`

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

// Ends what is left of a demo once that has ended, however it did: node cleanup.ts DIR MARK...

import { text } from 'node:stream/consumers'
import { cleanUp } from './workspace.ts'

// What ends the demo must not end the one who clears up.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
const [dir = '', ...marks] = process.argv.slice(2)
// Standard input ends with the demo.
await cleanUp(dir, marks, (await text(process.stdin)) === 'keep')

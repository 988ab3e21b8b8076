// Removes the processes and files that a demo leaves behind, even if the demo was killed: node cleanup.ts DIR MARK...

import { text } from 'node:stream/consumers'
import { cleanUp } from './workspace.ts'

// A signal that ends the demo may reach this process too. It must survive it and clean up.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
const [dir = '', ...marks] = process.argv.slice(2)
// The pipe to the demo closes when the demo ends.
await cleanUp(dir, marks, (await text(process.stdin)) === 'keep')

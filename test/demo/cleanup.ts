// Ends what is left of a demo once that has ended, however it did: node cleanup.ts DIR MARK...

import { cleanUpAfter } from './workspace.ts'

const [dir = '', ...marks] = process.argv.slice(2)
await cleanUpAfter(dir, marks)

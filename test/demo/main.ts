// What `npm run demo` runs.

import { addExamples, createProgram, runProgram } from '../../agent/config/command-line.ts'
import { runDemo } from './demo.ts'
import { demoOptions } from './settings.ts'

// It reads flags alone: variables are for the product.
const program = createProgram({}, 'demo').description('Watch three replicas take over from each other.')
const options = demoOptions(program)
addExamples(program, [
  ['Three takeovers, and then it ends', ''],
  ['Three replicas that stay, for the commands that operate them', '--stay'],
  ['With LangFlow itself', '--command "langflow run --backend-only"'],
])
program.action(async () => {
  process.exitCode = await runDemo(options(), process.env)
})
process.exitCode = await runProgram(program, process.argv.slice(2))

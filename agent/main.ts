import { addAgent } from './commands/agent.ts'
import { addDemo } from './commands/demo.ts'
import { addInject } from './commands/inject.ts'
import { addInstall } from './commands/install.ts'
import { addLaunch } from './commands/launch.ts'
import { addRun } from './commands/run.ts'
import { createProgram, runProgram } from './config/program.ts'

const program = createProgram()
addAgent(program)
addDemo(program)
addInject(program)
addInstall(program)
addLaunch(program)
addRun(program)
process.exitCode = await runProgram(program, process.argv.slice(2))

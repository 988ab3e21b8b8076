import { createProgram, runProgram } from '../config/program.ts'
import { addAgent } from './agent.ts'
import { addCheck } from './check.ts'
import { addDemo } from './demo.ts'
import { addHistory } from './history.ts'
import { addInject } from './inject.ts'
import { addInstall } from './install.ts'
import { addLaunch } from './launch.ts'
import { addRun } from './run.ts'
import { addStatus } from './status.ts'

const program = createProgram()
addAgent(program)
addCheck(program)
addDemo(program)
addHistory(program)
addInject(program)
addInstall(program)
addLaunch(program)
addRun(program)
addStatus(program)
process.exitCode = await runProgram(program, process.argv.slice(2))

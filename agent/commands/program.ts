import { createProgram, invocationOf, runProgram } from '../config/program.ts'
import { addAgent } from './agent.ts'
import { addCheck } from './check.ts'
import { addCompletion } from './completion.ts'
import { addDrill } from './drill.ts'
import { addFront } from './front.ts'
import { addHistory } from './history.ts'
import { addInject } from './inject.ts'
import { addInstall } from './install.ts'
import { addLaunch } from './launch.ts'
import { addPause } from './pause.ts'
import { addResume } from './resume.ts'
import { addRun } from './run.ts'
import { addStatus } from './status.ts'
import { addSwitchover } from './switchover.ts'

const { name, args } = invocationOf(process.argv)
const program = createProgram(process.env, name)
addAgent(program)
addCheck(program)
addCompletion(program)
addDrill(program)
addFront(program)
addHistory(program)
addInject(program)
addInstall(program)
addLaunch(program)
addPause(program)
addResume(program)
addRun(program)
addStatus(program)
addSwitchover(program)
process.exitCode = await runProgram(program, args)

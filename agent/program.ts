import { addCheck } from './cli/check/check-command.ts'
import { addDrill } from './cli/drill/drill-command.ts'
import { addInject } from './cli/inject/inject-command.ts'
import { addOperations } from './cli/operate-command.ts'
import { addAgent } from './commands/agent-command.ts'
import { addFront } from './commands/front-command.ts'
import { addInstall } from './commands/install-command.ts'
import { addLaunch } from './commands/launch-command.ts'
import { addRun } from './commands/run-command.ts'
import { createProgram, invocationOf, runProgram } from './config/command-line.ts'
import { UNREACHABLE } from './exit.ts'

const { name, args } = invocationOf(process.argv)
const program = createProgram(process.env, name)

// For people. The help shows the commands in this order.
addOperations(program)
addCheck(program)
addInject(program)
addDrill(program)

// In pods.
addAgent(program)
addLaunch(program)
addInstall(program)
addRun(program)
addFront(program)

process.exitCode = await runProgram(program, args)
// A credential plugin of the kubeconfig that hangs would keep the process alive.
if (process.exitCode === UNREACHABLE) process.exit()

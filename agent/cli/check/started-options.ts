import { createProgram } from '../../config/command-line.ts'
import { agentOptions, launcherOptions } from '../../config/options.ts'
import { UsageError } from '../../exit.ts'
import type { Environment } from './environment.ts'
import type { Started } from './rule.ts'

const COMMANDS = { agent: agentOptions, launch: launcherOptions }
type OptionsOf<N extends keyof typeof COMMANDS> = ReturnType<ReturnType<(typeof COMMANDS)[N]>>

/** Reads the options as the program itself would read them at its start in a container. */
export function startedOptions<N extends keyof typeof COMMANDS>(
  name: N,
  args: readonly string[],
  environment: Environment,
): Started<OptionsOf<N>> {
  const unknown = environment.unknownSetting
  if (unknown !== null) return { unknown }
  // The kubelet adds this variable to every container.
  const env = { ...environment.texts(), KUBERNETES_SERVICE_HOST: '10.0.0.1' }
  const program = createProgram(env)
  // The other command defines variables that this one accepts.
  const other = name === 'agent' ? 'launch' : 'agent'
  COMMANDS[other](program.command(other))
  const command = program.command(name)
  const read = COMMANDS[name](command)
  let options: OptionsOf<N> | null = null
  command.action(() => {
    options = read(env) as OptionsOf<N>
  })
  try {
    program.parse([name, ...args], { from: 'user' })
    return { options: options! }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    return { fault: error.message.replace(/^langflow-leader \w+: (.*); see '.*'$/s, '$1') }
  }
}

import { Command, CommanderError, type ErrorOptions, type HelpContext } from 'commander'
import { exitCodeOf, reportOf, UsageError } from '../exit.ts'
import { VERSION } from '../version.ts'
import { unknownVariable } from './environment.ts'

/** A command whose every usage error is a `UsageError` of one line, thrown instead of ending the process. */
class OneLineCommand extends Command {
  override createCommand(name?: string): Command {
    return new OneLineCommand(name)
  }

  override error(message: string, _options?: ErrorOptions): never {
    throw new UsageError(pathOf(this), sentence(message))
  }

  override help(context?: HelpContext | ((text: string) => string)): never {
    if (typeof context === 'object' && context.error) return this.error('missing command')
    return super.help(context as HelpContext)
  }
}

/** `langflow-leader agent` */
function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name()
}

/** Commander's `error: unknown option '--x'\n(Did you mean --y?)` as the middle of a line. */
function sentence(message: string): string {
  return message
    .replace(/^error: /, '')
    .replace(/\n\(Did you mean ([^\n]*)\?\)$/, ' (did you mean $1?)')
    .replace(/\.$/, '')
}

/**
 * The program without its commands; each adds itself with `.command(name)`. Every flag of every command is also an
 * environment variable, and one that belongs to no command is a usage error before any action runs.
 */
export function createProgram(env: NodeJS.ProcessEnv = process.env): Command {
  const program: Command = new OneLineCommand('langflow-leader')
  return program
    .description('Keeps exactly one LangFlow acting on Kubernetes.')
    .version(VERSION)
    .exitOverride()
    .enablePositionalOptions()
    .hook('preAction', (_, command) => {
      const problem = unknownVariable(program, env)
      if (problem !== null) command.error(problem)
    })
}

/**
 * Runs the command that `args` (without node and script) name. Resolves to the exit code: 2 after a usage error and 1
 * after any other, each told on stderr; else what the action left in `process.exitCode`, or 0.
 */
export async function runProgram(program: Command, args: readonly string[]): Promise<number> {
  try {
    await program.parseAsync([...args], { from: 'user' })
    return Number(process.exitCode ?? 0)
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode // --help and --version, already printed
    process.stderr.write(`${reportOf(error)}\n`)
    return exitCodeOf(error)
  }
}

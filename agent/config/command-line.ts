import { basename } from 'node:path'
import { Command, CommanderError, type ErrorOptions, type HelpContext } from 'commander'
import { exitCodeOf, print, reportOf, UsageError } from '../exit.ts'
import { VERSION } from '../version.ts'
import { optionDescription, SettingOption } from './setting.ts'

/** A command that throws a `UsageError` of one line for every usage error, instead of ending the process. */
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

/** Commander's `error: unknown option '--x'\n(Did you mean --y?)` as the middle of a line, without passwords. */
function sentence(message: string): string {
  return message
    .replace(/^error: /, '')
    .replace(/\n\(Did you mean ([^\n]*)\?\)$/, ' (did you mean $1?)')
    .replace(/\.$/, '')
    .replace(/\/\/[^/]*@/, '//***@')
}

/** `langflow-leader agent`, or `kubectl langflow-leader agent` if the user typed that. */
function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name()
}

/**
 * Adds examples to the help of a command: a description of each, and the arguments after the command's own name (empty:
 * no arguments), such as `['Ask for it again and again', '--watch']`.
 */
export function addExamples(
  command: Command,
  examples: readonly (readonly [does: string, rest: string])[],
): Command {
  const text = () =>
    examples.map(([does, rest]) => `  # ${does}\n  ${`${pathOf(command)} ${rest}`.trim()}`).join('\n\n')
  return command.addHelpText('after', () => `\nExamples:\n${text()}`)
}

/** The names under which kubectl runs the program: as `kubectl langflow-leader`, and for its completion. */
const PLUGIN = 'kubectl-langflow_leader'
const PLUGIN_COMPLETION = 'kubectl_complete-langflow_leader'

/** The name for usage texts, and the arguments. `argv` includes node and the program. */
export function invocationOf([, path = '', ...args]: readonly string[]): { name: string; args: string[] } {
  const called = basename(path)
  if (called === PLUGIN_COMPLETION)
    return { name: 'kubectl langflow-leader', args: ['complete', '--', ...args] }
  return { name: called === PLUGIN ? 'kubectl langflow-leader' : 'langflow-leader', args }
}

/**
 * The program without its commands. Each command adds itself with `.command(name)`. Every flag of a command that runs
 * in pods is also an environment variable. A variable without such a flag is a usage error before any action runs.
 */
export function createProgram(env: NodeJS.ProcessEnv = process.env, name = 'langflow-leader'): Command {
  const program: Command = new OneLineCommand(name)
  return program
    .description('Keeps exactly one LangFlow acting on Kubernetes.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({ writeOut: print })
    .configureHelp({ optionDescription })
    .enablePositionalOptions()
    .hook('preAction', (_, command) => {
      const problem = unknownVariable(program, env)
      if (problem !== null) command.error(problem)
    })
}

/** LangFlow's environment contains these, and so does the environment of a command that is run from there. */
const GIVEN_TO_LANGFLOW = ['LEADER_EPOCH', 'LEADER_IDENTITY']

/** A secret that commands read only from the environment: other users of a machine can read a command line. */
export const API_KEY = 'LEADER_API_KEY'

/** Kubernetes adds such variables for every Service in the namespace, also for one named `leader-…`. */
const SERVICE_LINK =
  /^LEADER(?:_[A-Z0-9_]+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/

/**
 * The sentence for a `LEADER_*` variable that no command reads. `null`: no such variable. Without this check, a typo
 * would silently leave a default in force.
 */
function unknownVariable(program: Command, env: NodeJS.ProcessEnv): string | null {
  const known = new Set([...GIVEN_TO_LANGFLOW, API_KEY, ...variablesOf(program)])
  const unknown = Object.keys(env)
    .sort()
    .find((name) => name.startsWith('LEADER_') && !known.has(name) && !SERVICE_LINK.test(name))
  return unknown === undefined
    ? null
    : `unknown environment variable ${unknown}: correct or remove it (LEADER_ is the prefix of this program)`
}

function variablesOf(command: Command): string[] {
  const own = command.options.flatMap((option) =>
    option instanceof SettingOption && option.variable !== null ? option.variable : [],
  )
  return [...own, ...command.commands.flatMap(variablesOf)]
}

/**
 * Runs the command in `args` (without node and script). Resolves to the exit code: 2 after a usage error and 1 after
 * any other, each reported on stderr. Without an error, it is the value that the action left in `process.exitCode`, or
 * 0.
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

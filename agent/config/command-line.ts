import { basename } from 'node:path'
import { Command, CommanderError } from 'commander'
import { FatalError, print, reportOf, UsageError } from '../exit.ts'
import { REDACTED } from '../redaction.ts'
import { VERSION } from '../version.ts'
import { optionDescription, SettingOption } from './setting.ts'

class OneLineCommand extends Command {
  override createCommand(name?: string): Command {
    return new OneLineCommand(name)
  }

  override error(message: string): never {
    throw new UsageError(pathOf(this), sentence(message))
  }
}

/** Commander's `error: unknown option '--x=y'\n(Did you mean --z?)` as part of one line, without passwords. */
function sentence(message: string): string {
  return message
    .replace(/^error: /, '')
    .replace(/^(unknown option '[^=]*)=.*'/s, "$1'")
    .replace(/\n\(Did you mean ([^\n]*)\?\)$/, ' (did you mean $1?)')
    .replace(/\.$/, '')
    .replace(/\/\/[^/]*@/, `//${REDACTED}@`)
}

/** `langflow-leader agent`, or `kubectl langflow-leader agent` if the user typed that. */
function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name()
}

/**
 * Adds examples to the end of a command's help. Each is a description and the text after the command's name, which may be empty:
 * `['Print JSON', '-o json']`.
 */
export function addExamples(
  command: Command,
  examples: readonly (readonly [about: string, rest: string])[],
): Command {
  const text = () =>
    examples.map(([about, rest]) => `  # ${about}\n  ${`${pathOf(command)} ${rest}`.trim()}`).join('\n\n')
  return command.addHelpText('after', () => `\nExamples:\n${text()}`)
}

/** The group of a command in `--help`. A command belongs to people unless it sets this group. */
export const IN_PODS = 'In pods:'

export function invocationOf([, path = '', ...args]: readonly string[]): { name: string; args: string[] } {
  const isPlugin = basename(path) === 'kubectl-langflow_leader'
  return { name: isPlugin ? 'kubectl langflow-leader' : 'langflow-leader', args }
}

export function createProgram(env: NodeJS.ProcessEnv = process.env, name = 'langflow-leader'): Command {
  const program: Command = new OneLineCommand(name)
  return program
    .description('Keeps exactly one LangFlow acting on Kubernetes.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({ writeOut: print })
    .configureHelp({ optionDescription })
    .commandsGroup('For people:')
    .helpCommand('help [command]', 'display help for a command')
    .enablePositionalOptions()
    .hook('preAction', (_, command) => {
      const problem = unknownVariable(program, env)
      if (problem !== null) command.error(problem)
    })
}

/** LangFlow's environment has these variables, and a command that is run in LangFlow's container inherits them. */
const GIVEN_TO_LANGFLOW = ['LEADER_EPOCH', 'LEADER_IDENTITY']

/** A secret that commands read only from the environment: other users of a machine can read a command line. */
export const API_KEY = 'LEADER_API_KEY'

/** Kubernetes adds such variables for every Service in the namespace, including Services named `leader-…`. */
const SERVICE_LINK =
  /^LEADER(?:_[A-Z0-9_]+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/

/**
 * An error for a `LEADER_*` variable that no command reads. Without the error, a typo would silently leave a default in force.
 * `null` if there is no such variable.
 */
function unknownVariable(program: Command, env: NodeJS.ProcessEnv): string | null {
  const accepted = new Set([...GIVEN_TO_LANGFLOW, API_KEY, ...variablesOf(program)])
  const other = Object.keys(env)
    .sort()
    .find((name) => name.startsWith('LEADER_') && !accepted.has(name) && !SERVICE_LINK.test(name))
  return other === undefined
    ? null
    : `unknown environment variable ${other}: correct it, or remove it (LEADER_ is the prefix of this program)`
}

function variablesOf(command: Command): string[] {
  const own = command.options.flatMap((option) =>
    option instanceof SettingOption && option.variable !== null ? option.variable : [],
  )
  return [...own, ...command.commands.flatMap(variablesOf)]
}

export async function runProgram(program: Command, args: readonly string[]): Promise<number> {
  try {
    await program.parseAsync([...args], { from: 'user' })
    return Number(process.exitCode ?? 0)
  } catch (error) {
    // Help or version, already printed. Without a command, commander prints the help as an error.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    process.stderr.write(`${reportOf(error)}\n`)
    return error instanceof FatalError ? error.exitCode : 1
  }
}

import type { Command, Option } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { print } from '../exit.ts'

/*
 * Shell completion in Cobra's protocol, which kubectl uses for its plugins. The output has a line for each candidate, with a tab and
 * its description. The last line is `:` and a number, which states whether the shell also completes file names.
 */

const SHELLS = ['bash', 'zsh'] as const

/** `completion`, and the hidden command that the shell or kubectl runs at each tab. */
export function addCompletion(program: Command): void {
  const command = program
    .command('completion')
    .description('print a script with which the shell completes commands, flags and values')
    .addArgument(program.createArgument('<shell>', 'the shell').choices(SHELLS))
    .action((shell: (typeof SHELLS)[number]) => print(SCRIPTS[shell]))
  addExamples(command, [
    ['Print the script for bash; add to ~/.bashrc: source <(langflow-leader completion bash)', 'bash'],
    [
      'Print the script for zsh; add to ~/.zshrc, after compinit: source <(langflow-leader completion zsh)',
      'zsh',
    ],
  ])
  program
    .command('complete', { hidden: true })
    .argument('[words...]')
    .action(async (words: string[]) => print(await complete(program, words, valuesInCluster)))
}

/** The values of a flag, by its name in code, that a cluster has. `typed`: the values of the other flags. */
export type ValuesOf = (flag: string, typed: Readonly<Record<string, string>>) => Promise<string[]>

const valuesInCluster: ValuesOf = async (...asked) => {
  const { valuesOf } = await import('./completion-values.ts')
  return valuesOf(...asked)
}

/** Cobra's numbers for the last line. */
const FILES = 0
const NO_FILES = 4

interface Candidate {
  readonly value: string
  readonly about?: string
}

/** The candidates for the last of these words. The last word is '' if the user has typed no part of it. */
export async function complete(
  program: Command,
  words: readonly string[],
  valuesOf: ValuesOf = async () => [],
): Promise<string> {
  const typed = words.at(-1) ?? ''
  let command = program
  let awaiting: Option | undefined
  const given: Record<string, string> = {}
  for (const word of words.slice(0, -1)) {
    const [flag = '', value] = word.split(/=(.*)/s, 2)
    const named = command.options.find((one) => isNamed(one, flag))
    if (awaiting !== undefined) {
      given[awaiting.attributeName()] = word
      awaiting = undefined
    }
    // The remaining words are the workload's command.
    else if (word === '--') return answer('', [], FILES)
    else if (word.startsWith('-') && value !== undefined) given[named?.attributeName() ?? ''] = value
    else if (word.startsWith('-')) awaiting = named?.required ? named : undefined
    else command = command.commands.find((one) => one.name() === word) ?? command
  }
  const ofValue = async (option: Option, before: string) => {
    const { argChoices = await valuesOf(option.attributeName(), given), flags } = option
    const values = argChoices.map((one) => ({ value: `${before}${one}` }))
    return answer(typed, values, values.length > 0 ? NO_FILES : pathsOf(flags))
  }
  if (awaiting !== undefined) return ofValue(awaiting, '')
  const [flag = '', value] = typed.split(/=(.*)/s, 2)
  const assigned = command.options.find((one) => isNamed(one, flag))
  if (value !== undefined && assigned !== undefined) return ofValue(assigned, `${flag}=`)
  if (typed.startsWith('-')) return answer(typed, flagsOf(command), NO_FILES)
  const names = command.createHelp().visibleCommands(command)
  const commands = names.map((one) => ({ value: one.name(), about: one.description() }))
  const [argument] = command.registeredArguments
  const choices = (argument?.argChoices ?? []).map((value) => ({ value }))
  const beside = argument === undefined || argument.argChoices ? NO_FILES : pathsOf(`<${argument.name()}>`)
  return answer(typed, [...commands, ...choices], beside)
}

function isNamed({ short, long }: Option, word: string): boolean {
  return word === short || word === long
}

/** Whether file names fit the placeholder of an option's or an argument's value. */
function pathsOf(placeholder: string): number {
  return /<(file|path|dir)>$/.test(placeholder) ? FILES : NO_FILES
}

function flagsOf(command: Command): Candidate[] {
  const options = command.createHelp().visibleOptions(command)
  return options.flatMap(({ long, short, description }) =>
    [long, short].flatMap((value) => (value === undefined ? [] : { value, about: description })),
  )
}

function answer(typed: string, candidates: readonly Candidate[], beside: number): string {
  const lines = candidates
    .filter(({ value }) => value.startsWith(typed))
    .map(({ value, about }) => (about ? `${value}\t${about}` : value))
  return `${[...lines, `:${beside}`].join('\n')}\n`
}

/** The script that a shell reads once. The script does not evaluate the words that the user types. */
export const SCRIPTS: Readonly<Record<(typeof SHELLS)[number], string>> = {
  bash: `# bash completion for langflow-leader
__langflow_leader() {
  local line=\${COMP_LINE:0:COMP_POINT} words out current
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  mapfile -t out < <(langflow-leader complete -- "\${words[@]:1}" 2>/dev/null)
  [[ \${#out[@]} -eq 0 ]] && return
  [[ \${out[-1]} == :0 ]] && compopt -o default
  unset 'out[-1]'
  # Bash itself splits words at = and :, and completes only the part after the last one.
  current=\${words[-1]}
  COMPREPLY=("\${out[@]%%$'\\t'*}")
  COMPREPLY=("\${COMPREPLY[@]#"\${current%"\${current##*[=:]}"}"}")
}
complete -F __langflow_leader langflow-leader
`,
  zsh: `#compdef langflow-leader
_langflow_leader() {
  local -a lines described
  local line value
  lines=("\${(@f)$(langflow-leader complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  for line in "\${(@)lines[1,-2]}"; do
    value=\${line%%$'\\t'*}
    if [[ $line == *$'\\t'* ]]; then described+=("\${value//:/\\\\:}:\${line#*$'\\t'}")
    else described+=("\${value//:/\\\\:}")
    fi
  done
  case "\${lines[-1]}" in
    :0) compset -P '*='; _files ;;
    *) _describe langflow-leader described ;;
  esac
}
if [[ \${funcstack[1]} == _langflow_leader ]]; then _langflow_leader "$@"
else compdef _langflow_leader langflow-leader
fi
`,
}

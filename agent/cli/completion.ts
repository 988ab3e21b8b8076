import type { Command, Option } from 'commander'

/*
 * Shell completion in the protocol of Cobra, which kubectl speaks to its plugins: a line for each candidate, after a tab what it
 * means, and at the end `:` with what the shell is to do beside them.
 */

export const SHELLS = ['bash', 'zsh', 'fish'] as const

/** In Cobra's numbers. */
const FILES = 0
const NO_FILES = 4
const DIRECTORIES = 16

interface Candidate {
  readonly value: string
  readonly about: string
}

/** What may stand for the last of these words, the others before it; '': nothing is typed of it yet. */
export function complete(program: Command, words: readonly string[]): string {
  const before = words.slice(0, -1)
  const last = words.at(-1) ?? ''
  const { command, awaiting, done } = parsed(program, before)
  if (done) return answer([], FILES)
  if (awaiting !== null) return ofValue(awaiting, last, '')
  const [flag = '', typed] = last.split(/=(.*)/s, 2)
  if (typed !== undefined) {
    const option = optionOf(command, flag)
    return option === null ? answer([], NO_FILES) : ofValue(option, typed, `${flag}=`)
  }
  if (last.startsWith('-')) return answer(starting(last, flagsOf(command)), NO_FILES)
  const names = command.createHelp().visibleCommands(command)
  const commands = names.map((one) => ({ value: one.name(), about: one.description() }))
  const [argument] = command.registeredArguments
  const beside = argument === undefined || argument.argChoices ? NO_FILES : pathsOf(`<${argument.name()}>`)
  const choices = (argument?.argChoices ?? []).map((value) => ({ value, about: '' }))
  return answer(starting(last, [...commands, ...choices]), beside)
}

/** Up to where the words are understood. `awaiting`: the option whose value comes next. `done`: the rest is not ours. */
function parsed(program: Command, words: readonly string[]) {
  let command = program
  let awaiting: Option | null = null
  for (const word of words) {
    if (awaiting !== null) awaiting = null
    else if (word === '--') return { command, awaiting, done: true }
    else if (word.startsWith('-')) awaiting = takesNext(optionOf(command, word))
    else command = command.commands.find((one) => one.name() === word) ?? command
  }
  return { command, awaiting, done: false }
}

function optionOf({ options }: Command, word: string): Option | null {
  return options.find(({ short, long }) => word === short || word === long) ?? null
}

function takesNext(option: Option | null): Option | null {
  return option?.required ? option : null
}

function ofValue(option: Option, typed: string, before: string): string {
  const values = (option.argChoices ?? []).map((value) => ({ value: `${before}${value}`, about: '' }))
  return answer(starting(`${before}${typed}`, values), values.length > 0 ? NO_FILES : pathsOf(option.flags))
}

/** By what an option's or an argument's value is called. */
function pathsOf(placeholder: string): number {
  if (/<(file|path)>$/.test(placeholder)) return FILES
  return /<dir>$/.test(placeholder) ? DIRECTORIES : NO_FILES
}

function flagsOf(command: Command): Candidate[] {
  const options = command.createHelp().visibleOptions(command)
  return options.flatMap((option) =>
    [option.long, option.short].flatMap((value) =>
      value === undefined ? [] : { value, about: option.description },
    ),
  )
}

function starting(typed: string, candidates: readonly Candidate[]): Candidate[] {
  return candidates.filter(({ value }) => value.startsWith(typed))
}

function answer(candidates: readonly Candidate[], beside: number): string {
  const lines = candidates.map(({ value, about }) => (about === '' ? value : `${value}\t${about}`))
  return `${[...lines, `:${beside}`].join('\n')}\n`
}

/** What a shell is to read once, e.g. `source <(langflow-leader completion bash)`. Nothing that is typed is evaluated. */
export const SCRIPTS: Readonly<Record<(typeof SHELLS)[number], string>> = {
  bash: `# bash completion for langflow-leader
__langflow_leader() {
  local line=\${COMP_LINE:0:COMP_POINT} words out current
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  mapfile -t out < <(langflow-leader complete -- "\${words[@]:1}" 2>/dev/null)
  [[ \${#out[@]} -eq 0 ]] && return
  case "\${out[-1]}" in
    :0) compopt -o default ;;
    :16) compopt -o dirnames ;;
  esac
  unset 'out[-1]'
  # Bash itself takes what stands before the last = or : for another word.
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
    :16) compset -P '*='; _files -/ ;;
    *) _describe langflow-leader described ;;
  esac
}
if [[ \${funcstack[1]} == _langflow_leader ]]; then _langflow_leader "$@"
else compdef _langflow_leader langflow-leader
fi
`,
  fish: `# fish completion for langflow-leader
function __langflow_leader
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  set -l lines (langflow-leader complete -- $words[2..] "$current" 2>/dev/null)
  test (count $lines) -gt 0; or return
  test (count $lines) -gt 1; and string join \\n -- $lines[1..-2]
  switch $lines[-1]
    case :0
      __fish_complete_path "$current"
    case :16
      __fish_complete_directories "$current" ''
  end
end
complete -c langflow-leader -f -a '(__langflow_leader)'
`,
}

import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { print } from '../exit.ts'

const REGISTER = "complete -o default -C 'langflow-leader complete' langflow-leader\n"

/** The line that a shell reads once. If there is no candidate, the shell completes file names. */
export const SCRIPTS = { bash: REGISTER, zsh: `autoload -Uz bashcompinit && bashcompinit\n${REGISTER}` }

export function addCompletion(program: Command): void {
  const command = program
    .command('completion')
    .description('print a script with which the shell completes the names of commands and flags')
    .addArgument(program.createArgument('<shell>', 'the shell').choices(Object.keys(SCRIPTS)))
    .action((shell: keyof typeof SCRIPTS) => print(SCRIPTS[shell]))
  addExamples(command, [
    ['Add to ~/.bashrc: source <(langflow-leader completion bash)', 'bash'],
    ['Add to ~/.zshrc, after compinit: source <(langflow-leader completion zsh)', 'zsh'],
  ])
  program
    .command('complete', { hidden: true })
    .argument('[words...]')
    .helpOption(false)
    .allowUnknownOption()
    .action((words: string[]) => {
      const { COMP_LINE, COMP_POINT } = process.env
      if (COMP_LINE !== undefined) {
        const typed = COMP_LINE.slice(0, Number(COMP_POINT)).split(/\s+/).slice(1)
        return print([...complete(program, typed), ''].join('\n'))
      }
      // In Cobra's protocol, which kubectl uses for its plugins, the last line states whether files are completed: 0, or not: 4.
      const names = complete(program, words)
      print([...names, names.length === 0 ? ':0' : ':4', ''].join('\n'))
    })
}

export function complete(program: Command, words: readonly string[]): string[] {
  const typed = words.at(-1) ?? ''
  // The words after `--` are the workload's command.
  if (words.slice(0, -1).includes('--')) return []
  const command = program.commands.find((one) => one.name() === words[0] && words.length > 1) ?? program
  const help = command.createHelp()
  const names = typed.startsWith('-')
    ? help.visibleOptions(command).flatMap(({ long = [], short = [] }) => [long, short].flat())
    : help.visibleCommands(command).map((one) => one.name())
  return names.filter((name) => name.startsWith(typed))
}

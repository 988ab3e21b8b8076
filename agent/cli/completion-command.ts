import type { Command } from 'commander'
import { print } from '../exit.ts'

/** Adds the command that kubectl runs to complete the names of commands and flags of its plugin. */
export function addCompletion(program: Command): void {
  program
    .command('complete', { hidden: true })
    .argument('[words...]')
    .helpOption(false)
    .allowUnknownOption()
    .action((words: string[]) => {
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

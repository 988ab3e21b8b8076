import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { print } from '../exit.ts'
import { complete, SCRIPTS, SHELLS } from './completion.ts'

/** `completion`, and the hidden command by which a shell asks at each tab; so does kubectl of its plugin. */
export function addCompletion(program: Command): void {
  const command = program
    .command('completion')
    .description('what a shell reads to complete commands, flags and their values')
    .addArgument(program.createArgument('<shell>', 'the shell').choices(SHELLS))
    .action((shell: (typeof SHELLS)[number]) => {
      print(SCRIPTS[shell])
    })
  addExamples(command, [
    ['In ~/.bashrc: source <(langflow-leader completion bash)', 'bash'],
    ['In ~/.zshrc, after compinit: source <(langflow-leader completion zsh)', 'zsh'],
    ['Once', 'fish > ~/.config/fish/completions/langflow-leader.fish'],
  ])
  program
    .command('complete', { hidden: true })
    .argument('[words...]')
    .action((words: string[]) => {
      print(complete(program, words))
    })
}

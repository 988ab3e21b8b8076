import { resolve } from 'node:path'
import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { print } from '../exit.ts'
import { install } from '../install/install.ts'
import { VERSION } from '../version.ts'

export function addInstall(program: Command): void {
  const command = program
    .command('install')
    .description("copy tini, node and this program to where LangFlow's container starts them from")
    .argument('<dir>', 'a directory on a volume that both containers mount')
    .action((dir: string) => {
      const target = resolve(dir)
      install(target, { program: process.argv[1] as string, path: process.env.PATH ?? '' })
      print(
        `installed tini, node ${process.version} and langflow-leader ${VERSION} in ${target}; start LangFlow with:\n` +
          `  ${target}/node --disable-sigusr1 ${target}/langflow-leader.mjs launch -- langflow run ...\n`,
      )
    })
  addExamples(command, [['From an init container, on a volume of the pod', '/opt/langflow-leader']])
}

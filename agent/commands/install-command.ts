import { resolve } from 'node:path'
import type { Command } from 'commander'
import { addExamples, IN_PODS } from '../config/command-line.ts'
import { print } from '../exit.ts'
import { install } from '../install/install.ts'
import { VERSION } from '../version.ts'

export function addInstall(program: Command): void {
  const command = program
    .command('install')
    .helpGroup(IN_PODS)
    .description("copy tini, node and this program to a volume, from which LangFlow's container starts them")
    .argument('<dir>', 'a directory on a volume that both containers mount')
    .action((dir: string) => {
      const target = resolve(dir)
      install(target, { program: process.argv[1] as string, path: process.env.PATH ?? '' })
      print(
        `installed tini, node ${process.version} and langflow-leader ${VERSION} in ${target}; start LangFlow with:\n` +
          `  ${target}/node --disable-sigusr1 ${target}/langflow-leader.mjs launch -- langflow run ...\n`,
      )
    })
  addExamples(command, [['Install to a volume of the pod, from an init container', '/opt/langflow-leader']])
}

import type { Command } from 'commander'
import { addExamples } from '../../config/command-line.ts'
import { injectOptions, parseInjectOptions } from './inject-settings.ts'

export function addInject(program: Command): void {
  const command = program
    .command('inject')
    .description('add leader election to the manifests of an existing LangFlow')
  addExamples(command, [
    ['What a chart renders, on its way to the cluster', '< rendered.yaml | kubectl apply -f -'],
    ['One file, with a standby that takes over in 2 s', '-f langflow.yaml --standby warm'],
    ['Take it out again', '-f injected.yaml --uninject'],
  ])
  injectOptions(command).action(async () => {
    const { files, options } = parseInjectOptions(command, !process.stdin.isTTY)
    const { write } = await import('../output.ts')
    const { readInput } = await import('../manifests/manifest-stream.ts')
    const { inject, uninject } = await import('./inject.ts')
    const input = await readInput(files)
    const { text, summary, warnings } = options === null ? uninject(input) : inject(input, options)
    for (const line of [...summary, ...warnings.map((one) => `warning: ${one}`)])
      process.stderr.write(`langflow-leader: ${line}\n`)
    await write(text)
  })
}

import type { Command } from 'commander'
import { injectOptions, parseInjectOptions } from '../inject/settings.ts'
import { write } from '../operate/output.ts'

export function addInject(program: Command): void {
  const command = program
    .command('inject')
    .description('add leader election to the manifests of an existing LangFlow')
  injectOptions(command).action(async () => {
    const { files, options } = parseInjectOptions(command, process.env, !process.stdin.isTTY)
    const { readInput } = await import('../manifests/stream.ts')
    const { inject, uninject } = await import('../inject/inject.ts')
    const input = await readInput(files)
    const { text, summary, warnings } = options === null ? uninject(input) : inject(input, options)
    for (const line of [...summary, ...warnings.map((one) => `warning: ${one}`)])
      process.stderr.write(`langflow-leader: ${line}\n`)
    await write(text)
  })
}

import type { Command } from 'commander'
import { FatalError } from '../exit.ts'
import { injectOptions, parseInjectOptions } from '../inject/settings.ts'

export function addInject(program: Command): void {
  const command = program
    .command('inject')
    .description('add leader election to the manifests of an existing LangFlow')
  injectOptions(command).action(async () => {
    const { files, options } = parseInjectOptions(command, process.env, !process.stdin.isTTY)
    const { readInput } = await import('../manifests/stream.ts')
    const { inject, uninject } = await import('../inject/inject.ts')
    const input = await readInput(files)
    const { text, warnings } = options === null ? uninject(input) : inject(input, options)
    for (const warning of warnings) process.stderr.write(`langflow-leader: ${warning}\n`)
    await write(text)
  })
}

/** Throws `FatalError` where whoever was to read it has ended. */
function write(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) =>
      reject(new FatalError(`cannot write to standard output: ${error.message}`, { cause: error }))
    process.stdout.once('error', fail)
    process.stdout.write(text, (error) => (error ? fail(error) : resolve()))
  })
}

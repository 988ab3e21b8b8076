import type { Command } from 'commander'

/** Adds `--filename` to a command that reads manifests. */
export function addFilenames(command: Command): Command {
  const repeated = (file: string, others: readonly string[] = []) => [...others, file]
  return command.option(
    '-f, --filename <file>',
    'a file or directory with manifests, or - for standard input; repeatable',
    repeated,
  )
}

/** The given files in their order; `null` if no file was given. */
export function readFilenames(command: Command): readonly string[] | null {
  const files: readonly string[] | undefined = command.getOptionValue('filename')
  return files ?? null
}

import type { Command } from 'commander'

/** Adds `--filename` to a command that reads manifests. */
export function addFilenames(command: Command): Command {
  const repeated = (file: string, others: readonly string[] = []) => [...others, file]
  return command.option('-f, --filename <file>', 'manifests; again for more, - for standard input', repeated)
}

/** The given files in their order; `null`: none. */
export function readFilenames(command: Command): readonly string[] | null {
  const files: readonly string[] | undefined = command.getOptionValue('filename')
  return files ?? null
}

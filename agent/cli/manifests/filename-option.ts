import type { Command } from 'commander'

/** Adds `--filename` to a command that reads manifests. */
export function addFilenames(command: Command): Command {
  const repeated = (file: string, others: readonly string[] = []) => [...others, file]
  return command.option('-f, --filename <file>', 'manifests; again for more, - for standard input', repeated)
}

/** What `addFilenames` added, in its order; `null`: no file was named. Ends with a usage error. */
export function readFilenames(command: Command): readonly string[] | null {
  const files: readonly string[] | undefined = command.getOptionValue('filename')
  if (files === undefined) return null
  if (files.includes('')) command.error("--filename '': name a file, or - for standard input")
  const twice = files.find((file, i) => files.indexOf(file) !== i)
  if (twice !== undefined) command.error(`--filename ${twice} is there twice: name it once`)
  return files
}

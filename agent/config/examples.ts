import type { Command } from 'commander'

/** `langflow-leader agent`, or `kubectl langflow-leader agent` where it was called so. */
export function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name()
}

/**
 * Ends the help of a command with examples: what each does, and what is typed after the command's own name ('': nothing),
 * e.g. `['Ask for it again and again', '--watch']`.
 */
export function addExamples(
  command: Command,
  examples: readonly (readonly [does: string, rest: string])[],
): Command {
  const text = () =>
    examples.map(([does, rest]) => `  # ${does}\n  ${`${pathOf(command)} ${rest}`.trim()}`).join('\n\n')
  return command.addHelpText('after', () => `\nExamples:\n${text()}`)
}

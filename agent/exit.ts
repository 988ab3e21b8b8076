/** A failure that a person has to correct. The message is one sentence with the change. The usual exit code is 1. */
export class FatalError extends Error {
  readonly exitCode: number
  constructor(sentence: string, { exitCode = 1, ...options }: { cause?: unknown; exitCode?: number } = {}) {
    super(sentence, options)
    this.name = 'FatalError'
    this.exitCode = exitCode
  }
}

/** The command line or the environment is wrong: nothing was started. */
export class UsageError extends FatalError {
  /** @param command as the user typed it, such as `langflow-leader agent` */
  constructor(command: string, problem: string) {
    super(`${command}: ${problem}; see '${command} --help'`, { exitCode: 2 })
    this.name = 'UsageError'
  }
}

/** The exit code of a command for people if the API server or the agent does not answer, or refuses the user. */
export const UNREACHABLE = 4

export function reportOf(error: unknown): string {
  if (error instanceof UsageError) return oneLine(error.message)
  if (error instanceof FatalError) return `langflow-leader: ${oneLine(error.message)}`
  const frames =
    error instanceof Error ? (error.stack ?? '').split('\n').filter((line) => /^ +at /.test(line)) : []
  return [`langflow-leader: unexpected error: ${error}`, ...frames].map(oneLine).join('\n')
}

/** Writes on standard output. If a reader such as `head` has ended, it has read enough, which is not a failure. */
export function print(text: string): void {
  // Only here: a launcher that only looked at the stream would change the pipe that LangFlow shares.
  if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', () => {})
  process.stdout.write(text)
}

const CONTROLS =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** Invisible characters shown as escapes: no input can forge a second line, or change the direction of its own. */
export function oneLine(text: string): string {
  return text.replace(CONTROLS, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

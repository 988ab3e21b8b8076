import { readFileSync } from 'node:fs'
import { text as readAll } from 'node:stream/consumers'
import { YAMLParseError } from 'yaml'
import { FatalError } from '../exit.ts'

/** Several files as one stream, which remembers where its lines come from. */
export interface Input {
  readonly text: string
  readonly parts: readonly { readonly name: string; readonly firstLine: number }[]
}

const STDIN = '-'

/** Reads files in their order, `-` as standard input. Throws `FatalError`. */
export async function readInput(files: readonly string[]): Promise<Input> {
  let text = ''
  const parts: Input['parts'][number][] = []
  for (const file of files) {
    const own = (file === STDIN ? await readAll(process.stdin) : readFile(file)).replace(/^\ufeff/, '')
    if (text !== '') text += `${text.endsWith('\n') ? '' : '\n'}${/^---(\s|$)/.test(own) ? '' : '---\n'}`
    parts.push({ name: file === STDIN ? 'standard input' : file, firstLine: linesIn(text) })
    text += own
  }
  return { text, parts }
}

/** One sentence on YAML that cannot be read, with its file and line. `chunkStart`: the offset of what was parsed. */
export function broken({ text, parts }: Input, chunkStart: number, error: unknown): FatalError {
  if (!(error instanceof Error)) throw error
  const at = error instanceof YAMLParseError ? (error.linePos?.[0].line ?? 1) - 1 : 0
  const line = linesIn(text.slice(0, chunkStart)) + at
  const { name, firstLine } = parts.findLast((part) => part.firstLine <= line)!
  const [what = ''] = error.message.replace(/ at line \d+, column \d+:?\s[\s\S]*$/, '').split('\n')
  return new FatalError(`${name}, line ${line - firstLine + 1}: not valid YAML: ${what}`, { cause: error })
}

function readFile(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why =
      code === 'ENOENT'
        ? 'there is no such file'
        : code === 'EISDIR'
          ? 'it is a directory: name its files one by one'
          : code === 'EACCES'
            ? 'it may not be read'
            : message
    throw new FatalError(`cannot read ${file}: ${why}`, { cause: error })
  }
}

function linesIn(text: string): number {
  return text.split('\n').length - 1
}

import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const WORD = /(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+/gs
const PIECE = /\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)"/gs

/**
 * The words of a command line, with a shell's quotes and backslashes, and nothing else of a shell. Throws an Error that
 * says what to change.
 */
export function splitWords(text: string): string[] {
  const rest = text.replace(WORD, '').trim()
  if (rest === '\\') throw new Error('the backslash at its end has nothing after it')
  if (rest !== '') throw new Error(`the quote ${rest[0]} is not closed`)
  return [...text.matchAll(WORD)].map(([word]) =>
    word.replace(PIECE, (_, plain?: string, single?: string, double?: string) =>
      plain !== undefined
        ? plain
        : single !== undefined
          ? single
          : (double ?? '').replace(/\\(["\\$`])/g, '$1'),
    ),
  )
}

/** What `program` means: the path itself, or the first such executable file in PATH; `null` where there is none. */
export function findExecutable(program: string, path: string): string | null {
  const candidates = program.includes('/')
    ? [program]
    : path.split(delimiter).map((dir) => join(dir || '.', program))
  return candidates.find(isExecutable) ?? null
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return statSync(file).isFile()
  } catch {
    return false
  }
}

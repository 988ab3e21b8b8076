import { isUtf8 } from 'node:buffer'
import { readFileSync } from 'node:fs'
import { buffer as readAll } from 'node:stream/consumers'
import { isDeepStrictEqual } from 'node:util'
import { type Document, type Node, parseAllDocuments, stringify, visit, type YAMLParseError } from 'yaml'
import { FatalError } from '../../exit.ts'
import { READING, update, WRITING } from './yaml.ts'

/** Several files as one stream, which remembers where its lines come from. */
export interface Input {
  readonly text: string
  readonly parts: readonly { readonly name: string; readonly firstLine: number }[]
}

/** One document of a stream. */
export interface StreamDocument {
  /** `null`: it is new. */
  readonly yaml: Document.Parsed | null
  /** With its directives and its `---`. */
  readonly text: string
  /** What it is to say: it is written as it was read where it says that already. */
  readonly value: unknown
}

const STDIN = '-'

/** Reads files in their order, `-` as standard input. Throws `FatalError`. */
export async function readInput(files: readonly string[]): Promise<Input> {
  let text = ''
  const parts: Input['parts'][number][] = []
  for (const file of files) {
    const name = file === STDIN ? 'standard input' : file
    const read = file === STDIN ? await readAll(process.stdin) : readFile(file)
    const own = textOf(name, read).replaceAll('\r\n', '\n')
    if (text !== '') text += `${text.endsWith('\n') ? '' : '\n'}${/^---(\s|$)/.test(own) ? '' : '---\n'}`
    parts.push({ name, firstLine: linesIn(text) })
    text += own
  }
  return { text, parts }
}

const UNREADABLE: Record<string, string> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a directory: name its files one by one',
  EACCES: 'it may not be read',
}

function readFile(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    throw new FatalError(`cannot read ${file}: ${UNREADABLE[code] ?? message}`, { cause: error })
  }
}

function textOf(name: string, read: Buffer): string {
  // UTF-16 without its mark is valid UTF-8, of which every second character is this one.
  if (isUtf8(read) && !read.includes(0)) return new TextDecoder().decode(read)
  throw new FatalError(`${name} is not UTF-8 text: save it as that`)
}

/** Throws `FatalError` with file and line where the YAML is broken. */
export function parseStream(input: Input): StreamDocument[] {
  const parsed = parseAllDocuments(input.text, READING)
  if ('empty' in parsed) return []
  let start = 0
  return parsed.map((yaml, i) => {
    const [error] = yaml.errors
    if (error !== undefined) throw broken(input, lineOf(error), error)
    try {
      refuseCycles(yaml)
      yaml.toJS()
    } catch (error) {
      throw broken(input, linesIn(input.text.slice(0, start)), error as Error)
    }
    writeOutAliases(yaml)
    const end = yaml.range[2]
    const isLast = i === parsed.length - 1
    const text = input.text.slice(start, isLast ? undefined : input.text[end] === '\n' ? end + 1 : end)
    start += text.length
    return { yaml, text, value: yaml.toJS() }
  })
}

/** What contains itself has no end once it is written out. Throws an `Error`. */
function refuseCycles(yaml: Document.Parsed): void {
  visit(yaml, {
    Alias: (_, alias, ancestors) => {
      const node = alias.resolve(yaml)
      if (ancestors.some((one) => one === node)) throw new Error(`the alias *${alias.source} contains itself`)
    },
  })
}

/** Puts a copy in the place of each alias, so that a change is made where it is meant and nowhere else. */
function writeOutAliases(yaml: Document.Parsed): void {
  visit(yaml, { Alias: (_, alias) => alias.resolve(yaml)?.clone() as Node })
  visit(yaml, { Value: (_, node) => void delete node.anchor })
}

/** One sentence on YAML that cannot be read, with its file and line. `line`: of the stream, from 0. */
function broken({ parts, text }: Input, line: number, error: Error): FatalError {
  const { name, firstLine } = parts.findLast((part) => part.firstLine <= line)!
  const [what = ''] = error.message.replace(/ at line \d+, column \d+:?\s[\s\S]*$/, '').split('\n')
  const isTooDeep = /call stack/.test(what)
  const isTemplate = text.split('\n')[line]?.includes('{{')
  const advice = isTemplate ? ': it is a template, render it first (helm template)' : ''
  return new FatalError(
    `${name}, line ${line - firstLine + 1}: not valid YAML: ${isTooDeep ? 'it is nested too deeply' : what}${advice}`,
    {
      cause: error,
    },
  )
}

function lineOf(error: YAMLParseError): number {
  return (error.linePos?.[0].line ?? 1) - 1
}

function linesIn(text: string): number {
  return text.split('\n').length - 1
}

export function documentOf(value: object): StreamDocument {
  return { yaml: null, text: stringify(value, WRITING), value }
}

/** The stream as text. Throws `FatalError` where a change cannot be written. */
export function render(documents: readonly StreamDocument[]): string {
  let all = ''
  for (const { yaml, text, value } of documents) {
    const changed = yaml !== null && !isDeepStrictEqual(yaml.toJS(), value)
    if (all !== '' && !all.endsWith('\n')) all += '\n'
    if (all !== '' && (changed || yaml?.directives.docStart !== true)) all += '---\n'
    all += changed ? rewritten(yaml, text, value) : text
  }
  return all
}

/** JSON stays JSON, and lists have the indentation that they had. */
function rewritten(yaml: Document.Parsed, before: string, value: unknown): string {
  if (isJson(before.replace(/^---\s/, ''))) return `${JSON.stringify(value, null, 4)}\n`
  update(yaml, value)
  const indentSeq = !/^( *)\S.*:\n\1- /m.test(before)
  return yaml.toString({ lineWidth: 0, indentSeq, directives: false })
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

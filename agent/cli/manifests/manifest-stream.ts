import { isUtf8 } from 'node:buffer'
import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Lexer, LineCounter, parseAllDocuments, stringify, type Tags, type YAMLParseError } from 'yaml'
import { FatalError } from '../../exit.ts'
import { type Fields, isFields } from './manifest.ts'

/** As kubectl reads YAML: YAML 1.1 without timestamps, and with the octal numbers of YAML 1.2. */
const READING = {
  version: '1.1',
  // The parser would build the value of each merged alias anew, so `plain` merges and counts. A quoted `<<` is a usual key.
  merge: false,
  uniqueKeys: false,
  // The schema of a CRD may have integers that exceed JavaScript's safe integers.
  intAsBigInt: true,
  logLevel: 'error',
  prettyErrors: false,
  customTags: (tags: Tags) => [
    ...tags.filter(
      (tag) => typeof tag === 'string' || (tag.format !== 'TIME' && !/:(timestamp|merge)$/.test(tag.tag)),
    ),
    { tag: 'tag:yaml.org,2002:merge', default: 'key' as const, test: /^<<$/, resolve: () => '\0<<' },
    {
      tag: 'tag:yaml.org,2002:int',
      default: true,
      test: /^[-+]?0o[0-7_]+$/i,
      resolve: (text: string) => Number(text.replace(/[-+_]/g, '')) * (text.startsWith('-') ? -1 : 1),
    },
  ],
} as const

/** Go reads these texts as numbers, because it ignores underscores. */
const NUMBER_OF_GO = /^[-+]?[\d_.]+([box][\da-f_]+|e[-+\d_]+)?$/i

/** YAML 1.1 reads these characters as line breaks, or refuses them. Others of them change the direction of a line on a terminal. */
const UNPRINTABLE = /[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** The limit of a stream, in bytes. Its objects take up to a hundred times as much memory. */
const MOST_BYTES = 16 * 1024 * 1024
/** The limit of a file's aliases, and of its anchors. For each alias, the parser looks through all of them. */
const MOST_ALIASES = 10_000
/** The limit of a file's values, after each alias has become a copy of its value. */
const MOST_VALUES = 2_000_000

/** Quotes each text that a reader of YAML 1.1 or 1.2 would not read as a text. */
const WRITING = {
  compat: 'yaml-1.1',
  lineWidth: 0,
  aliasDuplicateObjects: false,
  customTags: (tags: Tags) => [
    {
      tag: 'tag:yaml.org,2002:str',
      default: true,
      identify: (value: unknown) =>
        typeof value === 'string' && (NUMBER_OF_GO.test(value) || value.search(UNPRINTABLE) >= 0),
      resolve: (text: string) => text,
      stringify: ({ value }: { value: unknown }) =>
        JSON.stringify(value).replace(
          UNPRINTABLE,
          (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
        ),
    },
    ...tags,
  ],
} as const

/**
 * Reads the objects of files in the given order; `-` is standard input. Of a directory, it reads the files that kubectl reads, and
 * none of its subdirectories. Throws `FatalError`.
 */
export async function readStream(paths: readonly string[]): Promise<Fields[]> {
  const texts: (readonly [text: string, name: string])[] = []
  let bytes = 0
  for (const file of (await Promise.all(paths.map(filesAt))).flat()) {
    const name = file === '-' ? 'standard input' : file
    const read = await reading(name, async () => {
      const pieces: Buffer[] = []
      for await (const piece of file === '-' ? process.stdin : createReadStream(file)) {
        bytes += piece.length
        if (bytes > MOST_BYTES)
          throw tooLarge(name, 'the input has more than 16 MiB: pass fewer objects at once')
        pieces.push(piece)
      }
      return Buffer.concat(pieces)
    })
    // UTF-16 without a byte order mark is valid UTF-8, but contains NUL.
    if (!isUtf8(read) || read.includes(0)) throw new FatalError(`${name} is not UTF-8 text: save it as UTF-8`)
    texts.push([new TextDecoder().decode(read), name])
  }
  return texts.flatMap(([text, name]) => parseStream(text, name))
}

async function filesAt(path: string): Promise<string[]> {
  if (path === '-' || !(await reading(path, () => stat(path))).isDirectory()) return [path]
  const entries = await reading(path, () => readdir(path, { withFileTypes: true }))
  // To read a pipe could take forever.
  const files = entries.filter((entry) => entry.isFile() || entry.isSymbolicLink())
  const names = files.map(({ name }) => name).filter((name) => /\.(ya?ml|json)$/.test(name))
  if (names.length > 0) return names.sort().map((name) => join(path, name))
  throw new FatalError(`${path} has no file *.yaml, *.yml or *.json: name another directory, or its files`)
}

async function reading<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof FatalError) throw error
    throw new FatalError(`cannot read ${path}: ${(error as Error).message}`, { cause: error })
  }
}

function tooLarge(name: string, sentence: string): FatalError {
  return new FatalError(`${name}: ${sentence}`, { exitCode: 2 })
}

/** Counts before the parser builds any object. */
function refuseManyAliases(text: string, name: string): void {
  // Few texts have as many of these characters anywhere.
  if (text.replaceAll(/[^*&]+/g, '').length <= MOST_ALIASES) return
  const count = { '*': 0, '&': 0 }
  for (const token of new Lexer().lex(text)) {
    const sign = token[0] as keyof typeof count
    if (sign in count && ++count[sign] > MOST_ALIASES)
      throw tooLarge(name, `more than ${MOST_ALIASES} aliases or anchors: write values instead of aliases`)
  }
}

/** Parses YAML or JSON. A List is replaced by its items. Throws `FatalError` with the name and the line of a syntax error. */
export function parseStream(text: string, name: string): Fields[] {
  return valuesIn(text, name).flatMap((value) => {
    if (value === null) return []
    if (!isFields(value))
      throw new FatalError(
        `${name}: the document ${JSON.stringify(value)} is not a Kubernetes object: remove it`,
      )
    return value.kind === 'List' && Array.isArray(value.items) ? value.items.filter(isFields) : [value]
  })
}

function valuesIn(text: string, name: string): unknown[] {
  const lines = new LineCounter()
  const left = { name, values: MOST_VALUES }
  refuseManyAliases(text, name)
  try {
    return parseAllDocuments(text, { ...READING, lineCounter: lines }).map((document) => {
      if (document.errors[0] !== undefined) throw document.errors[0]
      return plain(document.toJS({ maxAliasCount: -1 }), left)
    })
  } catch (error) {
    if (error instanceof FatalError) throw error
    const { message, pos } = error as Partial<YAMLParseError> & Error
    const line = pos === undefined ? undefined : lines.linePos(pos[0]).line
    const isTemplate = text.split('\n')[(line ?? 0) - 1]?.includes('{{')
    const advice = isTemplate ? ': this line is a template: render it first, such as with helm template' : ''
    const place = line === undefined ? name : `${name}, line ${line}`
    const what = message.includes('call stack') ? 'its values are nested too deeply' : message.split('\n')[0]
    throw new FatalError(`${place}: not valid YAML: ${what}${advice}`, { cause: error })
  }
}

/** A copy without shared aliases, so that an edit changes one place only. Integers become numbers if they are safe integers. */
function plain(value: unknown, left: { name: string; values: number }): unknown {
  if (--left.values < 0)
    throw tooLarge(
      left.name,
      `more than ${MOST_VALUES} values, as aliases multiply them: write fewer aliases`,
    )
  if (Array.isArray(value)) return value.map((one) => plain(one, left))
  if (value instanceof Uint8Array) return Buffer.from(value).toString()
  if (isFields(value)) {
    const { '\0<<': merged = [], ...own } = value
    const sources = [merged].flat().reverse()
    if (!sources.every(isFields)) throw new Error('a merge key << needs an object, or a list of them')
    const ours = Object.entries(own).map(([key, one]) => [key, plain(one, left)])
    const inherited = sources.flatMap((one) => Object.entries(plain(one, left) as Fields))
    return Object.fromEntries([...inherited, ...ours])
  }
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value
}

export function renderStream(objects: readonly unknown[]): string {
  return objects.map((object) => stringify(object, WRITING)).join('---\n')
}

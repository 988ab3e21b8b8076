import { isUtf8 } from 'node:buffer'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { buffer as readAll } from 'node:stream/consumers'
import { LineCounter, parseAllDocuments, stringify, type Tags, type YAMLParseError } from 'yaml'
import { FatalError } from '../../exit.ts'
import { type Fields, isFields } from './manifest.ts'

/** As kubectl reads YAML: YAML 1.1 without timestamps, and with the octal numbers of YAML 1.2. */
const READING = {
  version: '1.1',
  uniqueKeys: false,
  // The schema of a CRD may have integers that exceed JavaScript's safe integers.
  intAsBigInt: true,
  logLevel: 'error',
  prettyErrors: false,
  customTags: (tags: Tags) => [
    ...tags.filter(
      (tag) => typeof tag === 'string' || (tag.format !== 'TIME' && !tag.tag.endsWith(':timestamp')),
    ),
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

/** YAML 1.1 reads these characters as line breaks, or refuses them. */
const UNPRINTABLE = /[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]/g

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
  const objects: Fields[] = []
  for (const file of paths.flatMap(filesAt)) {
    const name = file === '-' ? 'standard input' : file
    const read = file === '-' ? await readAll(process.stdin) : reading(file, () => readFileSync(file))
    // UTF-16 without a byte order mark is valid UTF-8, but contains NUL.
    if (!isUtf8(read) || read.includes(0)) throw new FatalError(`${name} is not UTF-8 text: save it as UTF-8`)
    objects.push(...parseStream(new TextDecoder().decode(read), name))
  }
  return objects
}

function filesAt(path: string): string[] {
  if (path === '-' || !reading(path, () => statSync(path).isDirectory())) return [path]
  const entries = reading(path, () => readdirSync(path, { withFileTypes: true }))
  // To read a pipe could take forever.
  const files = entries.filter((entry) => entry.isFile() || entry.isSymbolicLink())
  const names = files.map(({ name }) => name).filter((name) => /\.(ya?ml|json)$/.test(name))
  if (names.length > 0) return names.sort().map((name) => join(path, name))
  throw new FatalError(`${path} has no file *.yaml, *.yml or *.json: name another directory, or its files`)
}

function reading<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new FatalError(`cannot read ${path}: ${(error as Error).message}`, { cause: error })
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
  try {
    return parseAllDocuments(text, { ...READING, lineCounter: lines }).map((document) => {
      if (document.errors[0] !== undefined) throw document.errors[0]
      return plain(document.toJS())
    })
  } catch (error) {
    const { message, pos } = error as Partial<YAMLParseError> & Error
    const line = pos === undefined ? undefined : lines.linePos(pos[0]).line
    const isTemplate = text.split('\n')[(line ?? 0) - 1]?.includes('{{')
    const advice = isTemplate ? ': this line is a template: render it first, such as with helm template' : ''
    const place = line === undefined ? name : `${name}, line ${line}`
    throw new FatalError(`${place}: not valid YAML: ${message.split('\n')[0]}${advice}`, { cause: error })
  }
}

/** A copy without shared aliases, so that an edit changes one place only. Integers become numbers if they are safe integers. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain)
  if (value instanceof Uint8Array) return Buffer.from(value).toString()
  if (isFields(value)) return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]))
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value
}

export function renderStream(objects: readonly Fields[]): string {
  return objects.map((object) => stringify(object, WRITING)).join('---\n')
}

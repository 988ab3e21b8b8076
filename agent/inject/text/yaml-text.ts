import {
  type Document,
  isAlias,
  isMap,
  isSeq,
  type Node,
  type Pair,
  parseDocument,
  visit,
  YAMLMap,
} from 'yaml'
import { Unfit } from '../unfit.ts'
import { dig } from '../value.ts'

/** To an item of a list by its `name`, since its place may change. */
export interface Named {
  readonly name: string
}

export type Path = readonly (string | number | Named)[]

/**
 * One YAML document as text that is edited in place, so that whatever is not edited stays as it is to the byte: `yaml`
 * tells where things are, and never writes the document.
 */
export class YamlText {
  /** What the document said before the first edit, aliases and merge keys resolved. */
  readonly before: unknown
  #text: string
  #document: Document.Parsed | undefined
  #aliased = new Set<string>()

  /** Throws `YAMLParseError`, or `ReferenceError` for aliases that cannot be resolved. */
  constructor(text: string) {
    this.#text = text
    this.before = this.#parsed.toJS()
  }

  get text(): string {
    return this.#text
  }

  get lineBreak(): string {
    return this.#text.includes('\r\n') ? '\r\n' : '\n'
  }

  replace(start: number, end: number, text: string): void {
    this.#text = this.#text.slice(0, start) + text + this.#text.slice(end)
    this.#document = undefined
  }

  /** After the last edit. Throws `Unfit` where an alias has lost its anchor. */
  check(): void {
    try {
      this.#parsed.toJS()
    } catch (error) {
      throw new Unfit(
        `what inject replaces has a YAML anchor that is used elsewhere (${(error as Error).message}): write it out`,
      )
    }
  }

  /** What was at the path before the first edit. */
  valueBefore(path: Path): unknown {
    return path.reduce<unknown>((at, step) => {
      if (typeof step !== 'object') return dig(at, step)
      return Array.isArray(at) ? at.find((item) => dig(item, 'name') === step.name) : undefined
    }, this.before)
  }

  /** The map at the path, which is about to be edited. Throws `Unfit` where an edit would not stay there. */
  map(path: Path): YAMLMap.Parsed {
    const node = this.#editable(path)
    if (isMap(node)) return node as YAMLMap.Parsed
    throw new Unfit(`${shown(path)} is not a map`)
  }

  /** The node at the path, or `undefined`. Throws `Unfit` where an edit would not stay there. */
  find(path: Path): Node | undefined {
    return this.#editable(path)
  }

  #editable(path: Path): Node | undefined {
    let node: Node | null = this.#parsed.contents
    for (const [at, step] of path.entries()) {
      if (isMap(node)) node = (pairOf(node, String(step))?.value as Node | undefined) ?? null
      else if (isSeq(node)) node = (node.items.find((item, i) => isItem(item, i, step)) as Node) ?? null
      if (node === null) return undefined
      const place = shown(path.slice(0, at + 1))
      if (isAlias(node)) throw new Unfit(`${place} is the YAML alias *${node.source}: write it out`)
      if ('anchor' in node && node.anchor !== undefined && this.#aliased.has(node.anchor))
        throw new Unfit(
          `${place} has the YAML anchor &${node.anchor}, and must change where *${node.anchor} must not: write both out`,
        )
    }
    return node ?? undefined
  }

  get #parsed(): Document.Parsed {
    if (this.#document !== undefined) return this.#document
    const document = parseDocument(this.#text, {
      keepSourceTokens: true,
      uniqueKeys: false,
      merge: true,
      logLevel: 'error',
    })
    const [error] = document.errors
    if (error !== undefined) throw error
    this.#aliased = new Set()
    visit(document, { Alias: (_, { source }) => void this.#aliased.add(source) })
    this.#document = document
    return document
  }
}

/** The map's own pair with that key. Throws `Unfit` where there are two. */
export function pairOf(map: YAMLMap, key: string): Pair<Node, Node | null> | undefined {
  const found = (map.items as Pair<Node, Node | null>[]).filter((pair) => dig(pair.key, 'value') === key)
  if (found.length > 1) throw new Unfit(`the key ${key} is there twice`)
  return found[0]
}

function isItem(item: unknown, index: number, step: Path[number]): boolean {
  if (typeof step !== 'object') return index === step
  return item instanceof YAMLMap && item.get('name') === step.name
}

/** As people write it: spec.template.spec.containers[langflow] */
export function shown(path: Path): string {
  return path
    .map((step) =>
      typeof step === 'object' ? `[${step.name}]` : typeof step === 'number' ? `[${step}]` : `.${step}`,
    )
    .join('')
    .replace(/^\./, '')
}

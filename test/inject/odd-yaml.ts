import type { GeneratorValue } from 'fast-check'
import fc from 'fast-check'
import { stringify } from 'yaml'

/** Writes values as YAML in all the ways that people and tools write it, and some that only a test does. */
export class OddYaml {
  readonly #g: GeneratorValue
  #anchors = 0

  constructor(g: GeneratorValue) {
    this.#g = g
  }

  chance(percent: number): boolean {
    return this.#g(fc.integer, { min: 1, max: 100 }) <= percent
  }

  pick<T>(...choices: T[]): T {
    return choices[this.#g(fc.integer, { min: 0, max: choices.length - 1 })] as T
  }

  /** A block map without its first indentation. */
  document(value: object): string {
    return `${this.#blockMap(value, 0)}\n`
  }

  #value(value: unknown, column: number): string {
    if (typeof value !== 'object' || value === null) return ` ${this.#scalar(value, column)}${this.#aside()}`
    const isEmpty = Object.keys(value).length === 0
    if (isEmpty || this.chance(15)) return ` ${this.#dress()}${this.#flow(value, column)}${this.#aside()}`
    const head = `${this.chance(10) ? ` ${this.#dress()}`.trimEnd() : ''}${this.#aside()}\n${this.#between(column)}`
    if (!Array.isArray(value)) {
      const own = column + this.pick(1, 2, 2, 4)
      return `${head}${' '.repeat(own)}${this.#blockMap(value, own)}`
    }
    const own = column + this.pick(0, 2, 2, 3)
    const items = value.map((item) => `${' '.repeat(own)}-${this.#item(item, own)}`)
    return head + items.join(`\n${this.#between(own)}`)
  }

  #item(item: unknown, column: number): string {
    if (typeof item !== 'object' || item === null) return ` ${this.#scalar(item, column)}${this.#aside()}`
    if (Object.keys(item).length === 0 || this.chance(15))
      return ` ${this.#flow(item, column)}${this.#aside()}`
    const own = column + this.pick(2, 2, 4)
    const gap = ' '.repeat(own - column - 1)
    if (this.chance(10)) return `${this.#aside()}\n${' '.repeat(own)}${this.#blockMap(item, own)}`
    return `${gap}${this.#blockMap(item, own)}`
  }

  #blockMap(value: object, column: number): string {
    const pairs = Object.entries(value).map(([key, one]) => `${this.#key(key)}:${this.#value(one, column)}`)
    return pairs
      .map((pair, i) => (i === 0 ? pair : ' '.repeat(column) + pair))
      .join(`\n${this.#between(column)}`)
  }

  #flow(value: object, column: number): string {
    const gap = this.pick('', ' ', `\n${' '.repeat(column + 2)}`, `\n${' '.repeat(column + 5)}`)
    const comma = this.pick(',', ', ', ` ,${gap}`)
    const inner = Array.isArray(value)
      ? value.map((item) => this.#flowValue(item, column + 2))
      : Object.entries(value).map(([key, one]) => `${this.#key(key)}: ${this.#flowValue(one, column + 2)}`)
    const trailing = inner.length > 0 && this.chance(10) ? ',' : ''
    const [open, close] = Array.isArray(value) ? '[]' : '{}'
    return `${open}${gap}${inner.join(comma)}${trailing}${gap}${close}`
  }

  #flowValue(value: unknown, column: number): string {
    return typeof value === 'object' && value !== null ? this.#flow(value, column) : this.#quoted(value)
  }

  #scalar(value: unknown, column: number): string {
    if (typeof value !== 'string' || !value.includes('\n') || this.chance(20)) return this.#quoted(value)
    const lines = value.replace(/\n$/, '').split('\n')
    const indent = ' '.repeat(column + this.pick(2, 5))
    const strip = value.endsWith('\n') ? this.pick('', '+') : '-'
    return `|${strip}\n${lines.map((line) => (line === '' ? '' : indent + line)).join('\n')}`
  }

  #quoted(value: unknown): string {
    if (value === null) return this.pick('null', '~')
    if (typeof value !== 'string') return JSON.stringify(value)
    if (this.chance(30) || value.includes('\n')) return JSON.stringify(value)
    return stringify(value, { lineWidth: 0, singleQuote: this.chance(50) }).trimEnd()
  }

  #key(key: string): string {
    return this.chance(8) ? JSON.stringify(key) : key
  }

  #dress(): string {
    if (!this.chance(20)) return ''
    this.#anchors += 1
    return `&a${this.#anchors} `
  }

  #aside(): string {
    return this.chance(12) ? this.pick(' # aside', '   #', '  ') : ''
  }

  #between(column: number): string {
    if (!this.chance(15)) return ''
    return this.pick(
      '\n',
      '# at the margin\n',
      `${' '.repeat(column)}# above\n`,
      `  \n\n${' '.repeat(column + 3)}# far\n`,
    )
  }
}

import { Parser } from 'yaml'

/** One document of a stream with its separator: `chunks.join('')` is the stream. */
export type Chunk = string

/** A separator of its own line, as it is put before a document that had none. */
const SEPARATOR = /^---\r?\n/

/** Cuts a stream before each document, so that its directives and its `---` belong to it. */
export function splitDocuments(text: string): Chunk[] {
  const starts: number[] = []
  let isOpen = false
  let directives: number | null = null
  for (const token of new Parser().parse(text)) {
    if (token.type === 'directive') directives ??= token.offset
    if (token.type !== 'document') continue
    if (isOpen) starts.push(directives ?? token.offset)
    directives = null
    isOpen = true
  }
  return [0, ...starts].map((start, i) => text.slice(start, starts[i]))
}

/** What stands before a document's `---`: comments and directives; `null` where it has no `---`. */
export function headOf(chunk: Chunk): string | null {
  for (const token of new Parser().parse(chunk)) {
    if (token.type !== 'document') continue
    const mark = token.start.find(({ type }) => type === 'doc-start')
    return mark === undefined ? null : chunk.slice(0, mark.offset)
  }
  return null
}

/** The document with others before it, so that what needs them is applied after them. `text`: see `renderDocuments`. */
export function withBefore(chunk: Chunk, text: string, lineBreak: string): string {
  const head = headOf(chunk)
  const mark = `---${lineBreak}`
  return head === null ? `${text}${mark}${chunk}` : `${head}${mark}${text}${chunk.slice(head.length)}`
}

/** The stream without some of its documents, as it was before `withBefore` put them there. */
export function withoutDocuments(chunks: readonly Chunk[], isMeant: (index: number) => boolean): Chunk[] {
  const left: Chunk[] = []
  let carried = ''
  let hadNoMark = false
  for (const [i, chunk] of chunks.entries()) {
    if (isMeant(i)) {
      const head = headOf(chunk)
      hadNoMark ||= head === null
      carried += head ?? ''
    } else {
      left.push(carried + (hadNoMark ? chunk.replace(SEPARATOR, '') : chunk))
      carried = ''
      hadNoMark = false
    }
  }
  return carried === '' ? left : [...left, carried]
}

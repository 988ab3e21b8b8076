/** Several programs write one page. Each of them writes its own part, between two comments. */
const begin = (name: string) => `<!-- ${name}: begin -->`
const end = (name: string) => `<!-- ${name}: end -->`

/** A part of a page, with its marks. `undefined` if the page has no such part. */
function partOf(page: string, name: string): string | undefined {
  const from = page.indexOf(begin(name))
  const to = page.indexOf(end(name), from)
  return from < 0 || to < 0 ? undefined : page.slice(from, to + end(name).length)
}

/** The page with this part in place of the old one, or at its end if it had none. */
export function withPart(page: string, name: string, text: string): string {
  const part = `${begin(name)}\n\n${text.trim()}\n\n${end(name)}`
  const old = partOf(page, name)
  if (old !== undefined) return page.replace(old, () => part)
  return page.trim() === '' ? `${part}\n` : `${page.trimEnd()}\n\n${part}\n`
}

/** The new page, with this part of its predecessor. */
export function keepingPart(page: string, predecessor: string, name: string): string {
  const part = partOf(predecessor, name)
  return part === undefined ? page : `${page.trimEnd()}\n\n${part}\n`
}

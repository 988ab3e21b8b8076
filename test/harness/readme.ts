import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

/** The commands of a page in its only block that contains `text`. */
export function commandsOf(page: string, text: string): string {
  const content = readFileSync(join(ROOT, page), 'utf8')
  const blocks = [...content.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block as string)
  const [found, ...others] = blocks.filter((block) => block.includes(text))
  if (found === undefined || others.length > 0) throw new Error(`${page} must have one block with ${text}`)
  return found
}

export const commandsOfReadme = (text: string): string => commandsOf('README.md', text)

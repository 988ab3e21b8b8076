import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const README = join(import.meta.dirname, '../../README.md')

export function commandsOfReadme(text: string): string {
  const page = readFileSync(README, 'utf8')
  const blocks = [...page.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block as string)
  const [found, ...others] = blocks.filter((block) => block.includes(text))
  if (found === undefined || others.length > 0) throw new Error(`README must have one block with ${text}`)
  return found
}

// npm run reference: writes the part of docs/reference.md that lists all flags, from what --help shows.
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command, Option } from 'commander'
import { createProgram } from '../../agent/config/command-line.ts'

const ROOT = join(import.meta.dirname, '../..')
export const PAGE = join(ROOT, 'docs/reference.md')
const BEGIN = '<!-- flags: begin, written by npm run reference -->'
const END = '<!-- flags: end -->'

/** The whole program, with every command of both layers. */
async function wholeProgram(): Promise<Command> {
  const program = createProgram({})
  for (const file of globSync('agent/{commands,cli}/**/*-command.ts', { cwd: ROOT })) {
    const exported: Record<string, unknown> = await import(join(ROOT, file))
    for (const [name, add] of Object.entries(exported))
      if (/^add[A-Z]/.test(name)) (add as (program: Command) => void)(program)
  }
  return program
}

/** The page with the current flags. */
export async function referencePage(page: string): Promise<string> {
  const { commands } = await wholeProgram()
  const agent = commands.find((command) => command.name() === 'agent')
  if (agent === undefined) throw new Error('the program has no command "agent"')
  // Commands that the program starts itself are hidden, and have no flags.
  const others = commands.filter((one) => one !== agent && one.options.length > 0)
  const shown = [agent, ...others.sort((a, b) => a.name().localeCompare(b.name()))]
  const known = new Map(agent.options.map((option) => [option.long, rowOf(option)]))
  const sections = shown.map(
    (one) => `## ${one.name()}\n\n${sectionOf(one, one === agent ? new Map() : known)}`,
  )
  const from = page.indexOf(BEGIN)
  const to = page.indexOf(END)
  if (from < 0 || to < from) throw new Error(`${PAGE} has no part between ${BEGIN} and ${END}`)
  return `${page.slice(0, from)}${BEGIN}\n\n${sections.join('\n\n')}\n\n${page.slice(to)}`
}

/** The description of a command and its flags. Flags that the agent also has are listed by name only. */
function sectionOf(command: Command, known: ReadonlyMap<string | undefined, string>): string {
  const isKnown = (option: Option) => known.get(option.long) === rowOf(option)
  const own = command.options.filter((option) => !isKnown(option))
  const alike = command.options.filter(isKnown)
  const parts = [`\`langflow-leader ${command.name()} ${command.usage()}\`: ${command.description()}.`]
  if (alike.length > 0) {
    const names =
      alike.length + own.length === known.size
        ? 'all flags, but for those below'
        : alike.map(({ long }) => `\`${long}\``).join(', ')
    parts.push(`As for \`agent\`: ${names}.`)
  }
  for (const [heading, options] of Map.groupBy(own, (option) => option.helpGroupHeading ?? '')) {
    const title = heading.replace(/:$/, '')
    parts.push([`| ${title} | default | |`, '|---|---|---|', ...options.map(rowOf)].join('\n'))
  }
  return parts.join('\n\n')
}

function rowOf(option: Option): string {
  const unset = (option.defaultValueDescription ?? '').replace(/^\S+$/, '`$&`')
  return `| \`${option.flags}\` | ${unset} | ${option.description} |`.replaceAll(/<(?![^`|]*`)/g, '&lt;')
}

if (import.meta.main) writeFileSync(PAGE, await referencePage(readFileSync(PAGE, 'utf8')))

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
  const repeated = repeatedIn(others, known)
  const sections = shown.map(
    (one) =>
      `## ${one.name()}\n\n${one === agent ? sectionOf(one, new Map(), new Map()) : sectionOf(one, known, repeated)}`,
  )
  sections.splice(
    1,
    0,
    `## Shared flags\n\nSeveral commands have these flags.\n\n${tableOf('flag', [...repeated.values()])}`,
  )
  const from = page.indexOf(BEGIN)
  const to = page.indexOf(END)
  if (from < 0 || to < from) throw new Error(`${PAGE} has no part between ${BEGIN} and ${END}`)
  return `${page.slice(0, from)}${BEGIN}\n\n${sections.join('\n\n')}\n\n${page.slice(to)}`
}

function optionsOf({ options }: Command): Option[] {
  return options.filter(({ hidden }) => !hidden)
}

/** The flags that several commands have with the same meaning, other than those of the agent. */
function repeatedIn(
  commands: readonly Command[],
  known: ReadonlyMap<string | undefined, string>,
): Map<string, Option> {
  const options = commands.flatMap(optionsOf)
  const byRow = Map.groupBy(options, rowOf)
  return new Map(
    [...byRow].flatMap(([row, [option, ...others]]) =>
      option === undefined || others.length === 0 || known.get(option.long) === row ? [] : [[row, option]],
    ),
  )
}

/** The description of a command and its flags. Flags of the agent and shared flags are listed by name only. */
function sectionOf(
  command: Command,
  known: ReadonlyMap<string | undefined, string>,
  repeated: ReadonlyMap<string, Option>,
): string {
  const isKnown = (option: Option) => known.get(option.long) === rowOf(option)
  const isRepeated = (option: Option) => repeated.has(rowOf(option))
  const options = optionsOf(command)
  const own = options.filter((option) => !isKnown(option) && !isRepeated(option))
  const alike = options.filter(isKnown)
  const shared = options.filter(isRepeated)
  const parts = [`\`langflow-leader ${command.name()} ${command.usage()}\`: ${command.description()}.`]
  if (alike.length > 0) {
    const names =
      alike.length + own.length === known.size
        ? 'all flags except the following'
        : alike.map(({ long }) => `\`${long}\``).join(', ')
    parts.push(`As for \`agent\`: ${names}.`)
  }
  if (shared.length > 0)
    parts.push(`[Shared flags](#shared-flags): ${shared.map(({ long }) => `\`${long}\``).join(', ')}.`)
  if (own.length > 0) parts.push(tablesOf(own))
  return parts.join('\n\n')
}

/** One table for each group of flags. */
function tablesOf(options: readonly Option[]): string {
  const groups = Map.groupBy(options, (option) => option.helpGroupHeading ?? 'Input')
  return [...groups].map(([heading, group]) => tableOf(heading.replace(/:$/, ''), group)).join('\n\n')
}

function tableOf(title: string, options: readonly Option[]): string {
  return [`| ${title} | default | |`, '|---|---|---|', ...options.map(rowOf)].join('\n')
}

function rowOf(option: Option): string {
  const unset = (option.defaultValueDescription ?? '').replace(/^\S+$/, '`$&`')
  return `| \`${option.flags}\` | ${unset} | ${option.description} |`.replaceAll(/<(?![^`|]*`)/g, '&lt;')
}

if (import.meta.main) writeFileSync(PAGE, await referencePage(readFileSync(PAGE, 'utf8')))

// npm run reference: writes the part of docs/reference.md that lists all flags, from what --help shows.
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command, Option } from 'commander'
import { createProgram } from '../../agent/config/command-line.ts'
import { withPart } from '../bench/page-parts.ts'

const ROOT = join(import.meta.dirname, '../..')
export const PAGE = join(ROOT, 'docs/reference.md')

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

/** Commands whose flags are listed: those that run in pods, and those that a pipeline or a job runs. */
const LISTED = ['agent', 'launch', 'run', 'check', 'drill', 'inject']

/** The page with the current flags. */
export async function referencePage(page: string): Promise<string> {
  const { commands } = await wholeProgram()
  const listed = LISTED.map((name) => commands.find((one) => one.name() === name)!)
  const [agent] = listed
  const ofAgent = new Set(agent!.options.map(rowOf))
  const sections = listed.map((one) => sectionOf(one, one === agent ? new Set() : ofAgent))
  // Commands that the program starts itself are hidden, and have no flags.
  const others = commands.filter((one) => !listed.includes(one) && one.options.length > 0)
  const rows = others.map((one) => `| \`${one.name()}\` | ${one.description()} |`)
  sections.push(
    ['## Other commands\n\nTheir flags: `--help`.\n\n| command | |', '|---|---|', ...rows].join('\n'),
  )
  return withPart(page, 'flags, by npm run reference', sections.join('\n\n'))
}

/** The description of a command and its flags. Flags of the agent are listed by name only. */
function sectionOf(command: Command, ofAgent: ReadonlySet<string>): string {
  const options = command.options.filter(({ hidden }) => !hidden)
  const own = options.filter((option) => !ofAgent.has(rowOf(option)))
  const alike = options.filter((option) => ofAgent.has(rowOf(option)))
  const names =
    alike.length + own.length > ofAgent.size
      ? ['all flags except the following']
      : alike.map(({ long }) => `\`${long}\``)
  return [
    `## ${command.name()}`,
    `\`langflow-leader ${command.name()} ${command.usage()}\`: ${command.description()}.`,
    ...(alike.length > 0 ? [`As for \`agent\`: ${names.join(', ')}.`] : []),
    tablesOf(own),
  ].join('\n\n')
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

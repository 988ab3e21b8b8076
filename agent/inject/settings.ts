import type { Command } from 'commander'
import { addSettings, flagOf, readSettings, type Setting } from '../config/setting.ts'
import { AGENT_SETTINGS } from '../config/settings.ts'
import { parseNamespace, parseObjectName, splitWords } from '../config/values.ts'
import { VERSION } from '../version.ts'

export type Traffic = 'readiness' | 'label'

/** How a LangFlow is to be wrapped. */
export interface InjectOptions {
  /** LangFlow's container; `null`: it is looked for. */
  readonly container: string | null
  /** What the image starts where a template has no command; empty where that is nothing. `null`: not known. */
  readonly entrypoint: readonly string[] | null
  readonly image: string
  readonly standby: 'cold' | 'warm'
  readonly traffic: Traffic
  /** `null`: one that is named after the workload. */
  readonly leaseName: string | null
}

export interface InjectInput {
  /** In their order; `-` is standard input. At least one. */
  readonly files: readonly string[]
  /** `null`: everything is to be taken out. */
  readonly options: InjectOptions | null
}

const GROUP = 'Injection'

const INJECT_SETTINGS = {
  container: {
    argument: '<name>',
    otherwise: 'the one that runs LangFlow',
    about: "LangFlow's container",
    group: GROUP,
    parse: parseNamespace,
  },
  entrypoint: {
    argument: '<command>',
    about: 'what the image starts, such as "langflow run", for templates without a command',
    group: GROUP,
    parse: splitWords,
  },
  image: {
    argument: '<image>',
    fallback: `langflow-leader:${VERSION}`,
    about: "the agent's image",
    group: GROUP,
    parse: parseImage,
  },
  standby: { ...AGENT_SETTINGS.standby, group: GROUP },
  traffic: {
    argument: '<choice>',
    fallback: 'readiness',
    about: 'how only the leader is reached: readiness, label',
    group: GROUP,
    parse: parseTraffic,
  },
  leaseName: {
    argument: '<name>',
    otherwise: "<workload's name>-leader",
    about: 'the Lease that the replicas compete for',
    group: GROUP,
    parse: parseObjectName,
  },
} as const satisfies Record<string, Setting<unknown>>

const UNINJECT = {
  uninject: {
    argument: '',
    about: 'take out what inject put in',
    group: GROUP,
    parse: AGENT_SETTINGS.spare.parse,
  },
} as const satisfies Record<string, Setting<unknown>>

/** Adds the flags of `inject` to its command. */
export function injectOptions(command: Command): Command {
  const repeated = (file: string, others: readonly string[] = []) => [...others, file]
  command.option(
    '-f, --filename <file>',
    'manifests; again for more, - for standard input (LEADER_FILENAME)',
    repeated,
  )
  addSettings(command, UNINJECT)
  addSettings(command, INJECT_SETTINGS)
  return command
}

/** Reads what `injectOptions` added. `piped`: whether standard input is no terminal. Ends with a usage error. */
export function parseInjectOptions(command: Command, env: NodeJS.ProcessEnv, piped: boolean): InjectInput {
  const said = command.getOptionValue('filename') ?? (env.LEADER_FILENAME ? [env.LEADER_FILENAME] : null)
  if (said === null && !piped) command.error('name a file with -f, or pipe manifests in')
  const files: string[] = said ?? ['-']
  if (files.includes('')) command.error("--filename '': name a file, or - for standard input")
  const twice = files.find((file, i) => files.indexOf(file) !== i)
  if (twice !== undefined) command.error(`--filename ${twice} is there twice: name it once`)
  const options = readSettings(command, INJECT_SETTINGS, env)
  if (readSettings(command, UNINJECT, env).uninject !== true) return { files, options }
  const useless = Object.keys(INJECT_SETTINGS).find((key) => command.getOptionValue(key) !== undefined)
  if (useless !== undefined)
    command.error(`${flagOf(useless)} means nothing to --uninject, which takes everything out: leave one out`)
  return { files, options: null }
}

function parseImage(text: string): string {
  if (!/^[a-z0-9][\w./:@-]{0,511}$/.test(text))
    throw new Error('use an image as a pod names it, such as registry.example.org/langflow-leader:0.1.0')
  return text
}

function parseTraffic(text: string): Traffic {
  if (text === 'readiness' || text === 'label') return text
  throw new Error(
    text === 'slice'
      ? 'inject leaves Services their selectors, which slice does not: use readiness or label'
      : 'use readiness or label',
  )
}

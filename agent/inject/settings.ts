import type { Command } from 'commander'
import { addSettings, flagOf, group, readSettings, type Values } from '../config/setting.ts'
import { AGENT_SETTINGS } from '../config/settings.ts'
import { parseNamespace, parseObjectName, splitWords } from '../config/values.ts'
import { VERSION } from '../version.ts'

const INJECT_SETTINGS = group('Injection', {
  uninject: {
    argument: '',
    about: 'take out what inject put in',
    parse: AGENT_SETTINGS.spare.parse,
  },
  container: {
    argument: '<name>',
    otherwise: 'the one that runs LangFlow',
    about: "LangFlow's container",
    parse: parseNamespace,
  },
  entrypoint: {
    argument: '<command>',
    about: 'what the image starts, such as "langflow run", for templates without a command',
    parse: (text): readonly string[] => splitWords(text),
  },
  image: {
    argument: '<image>',
    fallback: `langflow-leader:${VERSION}`,
    about: "the agent's image",
    parse: parseImage,
  },
  standby: AGENT_SETTINGS.standby,
  traffic: {
    argument: '<choice>',
    fallback: 'readiness',
    about: 'how only the leader is reached: readiness, label',
    parse: parseTraffic,
  },
  leaseName: {
    argument: '<name>',
    otherwise: "<workload's name>-leader",
    about: 'the Lease that the replicas compete for',
    parse: parseObjectName,
  },
})

/** How a LangFlow is to be wrapped. */
export type InjectOptions = Omit<Values<typeof INJECT_SETTINGS>, 'uninject'>
export type Traffic = InjectOptions['traffic']

export interface InjectInput {
  /** In their order; `-` is standard input. At least one. */
  readonly files: readonly string[]
  /** `null`: everything is to be taken out. */
  readonly options: InjectOptions | null
}

/** Adds the flags of `inject` to its command. */
export function injectOptions(command: Command): Command {
  const repeated = (file: string, others: readonly string[] = []) => [...others, file]
  command.option(
    '-f, --filename <file>',
    'manifests; again for more, - for standard input (LEADER_FILENAME)',
    repeated,
  )
  return addSettings(command, INJECT_SETTINGS)
}

/** Reads what `injectOptions` added. `piped`: whether standard input is no terminal. Ends with a usage error. */
export function parseInjectOptions(command: Command, env: NodeJS.ProcessEnv, piped: boolean): InjectInput {
  const said = command.getOptionValue('filename') ?? (env.LEADER_FILENAME ? [env.LEADER_FILENAME] : null)
  if (said === null && !piped) command.error('name a file with -f, or pipe manifests in')
  const files: string[] = said ?? ['-']
  if (files.includes('')) command.error("--filename '': name a file, or - for standard input")
  const twice = files.find((file, i) => files.indexOf(file) !== i)
  if (twice !== undefined) command.error(`--filename ${twice} is there twice: name it once`)
  const { uninject, ...options } = readSettings(command, INJECT_SETTINGS, env)
  if (uninject !== true) return { files, options }
  const useless = Object.keys(options).find((key) => command.getOptionValue(key) !== undefined)
  if (useless !== undefined)
    command.error(`${flagOf(useless)} means nothing to --uninject, which takes everything out: leave one out`)
  return { files, options: null }
}

function parseImage(text: string): string {
  if (!/^[a-z0-9][\w./:@-]{0,511}$/.test(text))
    throw new Error('use an image as a pod names it, such as registry.example.org/langflow-leader:0.1.0')
  return text
}

function parseTraffic(text: string): 'readiness' | 'label' {
  if (text === 'readiness' || text === 'label') return text
  const slice = 'inject leaves Services their selectors, which slice does not: '
  throw new Error(`${text === 'slice' ? slice : ''}use readiness or label`)
}

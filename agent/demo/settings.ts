import type { Command } from 'commander'
import { type Listen, parseListen } from '../config/address.ts'
import { addSettings, readSettings, reads, type Setting } from '../config/setting.ts'
import { AGENT_SETTINGS } from '../config/settings.ts'
import { contradiction, type Timings, timingsOf } from '../config/timings.ts'
import { findExecutable, splitWords } from '../config/words.ts'

/** All that a demo is told. Times in milliseconds. */
export interface DemoOptions extends Timings {
  /** Where the front door is. */
  readonly listen: Listen
  /** What is elected; `null`: the stand-in. */
  readonly command: readonly string[] | null
  readonly json: boolean
}

const { preset, leaseDuration, renewDeadline, retryPeriod, killMargin } = AGENT_SETTINGS

const DEMO_SETTINGS = {
  command: {
    argument: '<command>',
    otherwise: 'a small stand-in',
    about: 'what is elected, such as "langflow run --backend-only"; it listens on $LANGFLOW_PORT',
    group: 'Demo',
    schema: reads(parseCommand),
  },
  listen: {
    argument: '<address>',
    fallback: '127.0.0.1:0',
    about: 'where the front door answers; port 0 is any free one',
    group: 'Demo',
    schema: reads(parseListen),
  },
  json: {
    argument: '',
    fallback: 'false',
    about: 'progress on stderr, and the result as one JSON object on stdout',
    group: 'Demo',
    schema: reads(parseSwitch),
  },
  preset,
  leaseDuration,
  renewDeadline,
  retryPeriod,
  killMargin,
} as const satisfies Record<string, Setting<unknown>>

/** Adds the demo's flags to its command. */
export function demoOptions(command: Command): Command {
  addSettings(command, DEMO_SETTINGS)
  return command
}

/** Reads what `demoOptions` added. Ends with a usage error where something is wrong. */
export function parseDemoOptions(command: Command, env: NodeJS.ProcessEnv = process.env): DemoOptions {
  const { command: workload, listen, json, ...said } = readSettings(command, DEMO_SETTINGS, env)
  const timings = timingsOf(said)
  const problem = contradiction({ ...timings, onDoubt: 'freeze' })
  if (problem !== null) command.error(problem)
  return { ...timings, listen, command: workload, json }
}

function parseSwitch(text: string): boolean {
  if (text !== 'true' && text !== 'false') throw new Error('use true or false')
  return text === 'true'
}

function parseCommand(text: string): string[] {
  const [program, ...args] = splitWords(text)
  if (!program) throw new Error('name a program, such as "langflow run --backend-only"')
  if (findExecutable(program, process.env.PATH ?? '') === null) {
    throw new Error(
      program.includes('/')
        ? `${program} is no executable file`
        : `there is no program ${program} in PATH; install it, or give its path`,
    )
  }
  return [program, ...args]
}

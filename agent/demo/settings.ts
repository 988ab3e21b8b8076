import type { Command } from 'commander'
import { addSettings, readSettings, reads, type Setting } from '../config/setting.ts'
import { onOff, TIMING_SETTINGS } from '../config/settings.ts'
import { contradiction, type Timings, timingsOf } from '../config/timings.ts'
import { findExecutable, type Listen, parseListen, splitWords } from '../config/values.ts'

/** All that a demo is told. Times in milliseconds. */
export interface DemoOptions extends Timings {
  /** Where the front door is. */
  readonly listen: Listen
  /** What is elected; `null`: the stand-in. */
  readonly command: readonly string[] | null
  readonly json: boolean
}

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
  json: { ...onOff('progress on stderr, and the result as one JSON object on stdout'), group: 'Demo' },
  ...TIMING_SETTINGS,
} as const satisfies Record<string, Setting<unknown>>

/** Adds the demo's flags to its command. */
export function demoOptions(command: Command): Command {
  return addSettings(command, DEMO_SETTINGS)
}

/** Reads what `demoOptions` added. Ends with a usage error where something is wrong. */
export function parseDemoOptions(command: Command, env: NodeJS.ProcessEnv = process.env): DemoOptions {
  const { command: workload, listen, json, ...said } = readSettings(command, DEMO_SETTINGS, env)
  const timings = timingsOf(said)
  const problem = contradiction({ ...timings, onDoubt: 'freeze' })
  if (problem !== null) command.error(problem)
  return { ...timings, listen, command: workload, json }
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

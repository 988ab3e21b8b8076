import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { Command } from 'commander'
import { TIMING_SETTINGS } from '../../agent/config/agent-settings.ts'
import { addFlags, group, onOff, optional, readFlags, setting } from '../../agent/config/setting.ts'
import { contradiction, type Timings, timingsOf } from '../../agent/config/timings.ts'
import { type Listen, parseListen, splitWords } from '../../agent/config/values.ts'

export interface DemoOptions {
  readonly timings: Timings
  readonly listen: Listen
  /** What is elected; `null`: the stand-in. */
  readonly command: readonly string[] | null
  readonly json: boolean
  /** No faults: it stays until a signal ends it. */
  readonly stay: boolean
}

const DEMO_SETTINGS = {
  ...group('Demo', {
    command: optional(
      '<command>',
      'a small stand-in',
      'what is elected, such as "langflow run --backend-only"; it listens on $LANGFLOW_PORT',
      parseCommand,
    ),
    listen: setting(
      '<address>',
      '127.0.0.1:0',
      'where the entrance answers; port 0 is any free one',
      parseListen,
    ),
    json: onOff('progress on stderr, and the result as one JSON object on stdout'),
    stay: onOff('no faults: it stays up until Ctrl-C, for the commands that operate it'),
  }),
  ...TIMING_SETTINGS,
}

/** Adds the demo's flags to its command, and returns what reads them: it ends with a usage error where something is wrong. */
export function demoOptions(command: Command): () => DemoOptions {
  addFlags(command, DEMO_SETTINGS)
  return () => {
    const { command: workload, listen, json, stay, ...said } = readFlags(command, DEMO_SETTINGS)
    const timings = timingsOf(said)
    const problem = contradiction({ ...timings, onDoubt: 'freeze' })
    if (problem !== null) command.error(problem)
    return { timings, listen, command: workload, json, stay }
  }
}

function parseCommand(text: string): string[] {
  const [program, ...args] = splitWords(text)
  if (!program) throw new Error('name a program, such as "langflow run --backend-only"')
  if (findExecutable(program, process.env.PATH ?? '') !== null) return [program, ...args]
  throw new Error(
    program.includes('/')
      ? `${program} is no executable file`
      : `there is no program ${program} in PATH; install it, or give its path`,
  )
}

/** What `program` means: the path itself, or the first such executable file in PATH; `null` where there is none. */
function findExecutable(program: string, path: string): string | null {
  const candidates = program.includes('/')
    ? [program]
    : path.split(delimiter).map((dir) => join(dir || '.', program))
  return candidates.find(isExecutable) ?? null
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return statSync(file).isFile()
  } catch {
    return false
  }
}

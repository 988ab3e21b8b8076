import type { Command } from 'commander'
import { drillOptions } from '../../agent/cli/drill/drill-command.ts'
import {
  COMMON_SETTINGS,
  FAILOVER_SETTINGS,
  PAUSE_SETTINGS,
  RESTART_SETTINGS,
  STATUS_SETTINGS,
  SWITCHOVER_SETTINGS,
} from '../../agent/cli/operate-command.ts'
import { createProgram } from '../../agent/config/command-line.ts'
import { agentOptions, launcherOptions, runOptions } from '../../agent/config/options.ts'
import { addFlags, readFlags, type Settings } from '../../agent/config/setting.ts'

function reader<S extends Settings>(settings: S) {
  return (command: Command) => {
    addFlags(command, settings)
    return () => readFlags(command, settings)
  }
}

const READERS = {
  agent: agentOptions,
  launcher: launcherOptions,
  run: runOptions,
  drill: drillOptions,
  status: reader(STATUS_SETTINGS),
  history: reader(COMMON_SETTINGS),
  switchover: reader(SWITCHOVER_SETTINGS),
  failover: reader(FAILOVER_SETTINGS),
  restart: reader(RESTART_SETTINGS),
  pause: reader(PAUSE_SETTINGS),
  resume: reader(COMMON_SETTINGS),
}

export type Parsed = { [K in keyof typeof READERS]?: ReturnType<ReturnType<(typeof READERS)[K]>> }

/** The real options, on commands that only record the parsed values. */
export function recordingProgram(env: NodeJS.ProcessEnv = {}): { program: Command; parsed: Parsed } {
  const program = createProgram(env)
  const parsed: Parsed = {}
  for (const [name, options] of Object.entries(READERS)) {
    const command = program.command(name === 'launcher' ? 'launch' : name)
    const read = options(command)
    command.action(() => void Object.assign(parsed, { [name]: read(env) }))
  }
  return { program, parsed }
}

/** Parses a command line. Rejects with the usage error. */
export async function parse(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Parsed> {
  const { program, parsed } = recordingProgram(env)
  await program.parseAsync(args, { from: 'user' })
  return parsed
}

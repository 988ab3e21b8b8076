import type { Command } from 'commander'
import {
  type HistoryOptions,
  historyOptions,
  type StatusOptions,
  statusOptions,
} from '../../agent/cli/cluster-settings.ts'
import {
  type PauseOptions,
  pauseOptions,
  type ResumeOptions,
  resumeOptions,
} from '../../agent/cli/pause-settings.ts'
import { type SwitchoverOptions, switchoverOptions } from '../../agent/cli/switchover-settings.ts'
import { createProgram } from '../../agent/config/command-line.ts'
import {
  type AgentOptions,
  agentOptions,
  type LauncherOptions,
  launcherOptions,
  type RunOptions,
  runOptions,
} from '../../agent/config/options.ts'

export interface Parsed {
  agent?: AgentOptions
  launcher?: LauncherOptions
  run?: RunOptions
  status?: StatusOptions
  history?: HistoryOptions
  switchover?: SwitchoverOptions
  pause?: PauseOptions
  resume?: ResumeOptions
}

/** The real options on commands that only tell what they understood. */
export function programThatTells(env: NodeJS.ProcessEnv = {}): { program: Command; parsed: Parsed } {
  const program = createProgram(env)
  const parsed: Parsed = {}
  const commands = [
    ['agent', 'agent', agentOptions],
    ['launch', 'launcher', launcherOptions],
    ['run', 'run', runOptions],
    ['status', 'status', statusOptions],
    ['history', 'history', historyOptions],
    ['switchover', 'switchover', switchoverOptions],
    ['pause', 'pause', pauseOptions],
    ['resume', 'resume', resumeOptions],
  ] as const
  for (const [name, key, options] of commands) {
    const command = program.command(name)
    const read = options(command)
    command.action(() => void Object.assign(parsed, { [key]: read(env) }))
  }
  return { program, parsed }
}

/** What the command line means; rejects with the usage error. */
export async function parse(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Parsed> {
  const { program, parsed } = programThatTells(env)
  await program.parseAsync(args, { from: 'user' })
  return parsed
}

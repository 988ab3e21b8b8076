import type { Command } from 'commander'
import {
  type AgentOptions,
  agentOptions,
  type LauncherOptions,
  launcherOptions,
  parseAgentOptions,
  parseLauncherOptions,
  parseRunOptions,
  type RunOptions,
  runOptions,
} from '../../agent/config/options.ts'
import { createProgram } from '../../agent/config/program.ts'

export interface Parsed {
  agent?: AgentOptions
  launcher?: LauncherOptions
  run?: RunOptions
}

/** The real options on commands that only tell what they understood. */
export function programThatTells(env: NodeJS.ProcessEnv = {}): { program: Command; parsed: Parsed } {
  const program = createProgram(env)
  const parsed: Parsed = {}
  agentOptions(program.command('agent')).action((_, command: Command) => {
    parsed.agent = parseAgentOptions(command, env)
  })
  launcherOptions(program.command('launch')).action((_, __, command: Command) => {
    parsed.launcher = parseLauncherOptions(command, env)
  })
  runOptions(program.command('run')).action((_, __, command: Command) => {
    parsed.run = parseRunOptions(command, env)
  })
  return { program, parsed }
}

/** What the command line means; rejects with the usage error. */
export async function parse(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Parsed> {
  const { program, parsed } = programThatTells(env)
  await program.parseAsync(args, { from: 'user' })
  return parsed
}

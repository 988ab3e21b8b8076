import { rmSync } from 'node:fs'
import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples, IN_PODS } from '../config/command-line.ts'
import { type RunOptions, runOptions } from '../config/options.ts'
import { makeDirectory } from '../directory.ts'
import { reasonOf } from '../errno.ts'
import { FatalError } from '../exit.ts'
import { MARKER } from '../launcher/local-machine.ts'
import { createProcessTree } from '../processes/process-tree.ts'
import { SupervisedChild } from '../processes/supervised-child.ts'
import { setAside } from '../reexec.ts'
import { newKeys, runAgent } from './agent-command.ts'
import { WITH_AGENT } from './launch-command.ts'

const KILL_WITHIN_MS = 3_000
const END_WITHIN_MS = 2_000

export function addRun(program: Command): void {
  const command = program
    .command('run')
    .helpGroup(IN_PODS)
    .description('run agent and launcher together, in a single container or on a VM')
  const read = runOptions(command)
  addExamples(command, [
    ['Run LangFlow with leader election in a pod', '-- langflow run --host 0.0.0.0'],
    ['Run it on a machine outside of the cluster', '--kubeconfig ~/.kube/config -- langflow run'],
  ])
  command.action(async () => {
    process.exitCode = await run(read())
  })
}

async function run(options: RunOptions): Promise<number> {
  const { privateDir } = options
  if (privateDir !== null) makePrivate(privateDir)
  try {
    const keys = newKeys(options.agent)
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('LEADER_'))
    const launcher = new SupervisedChild({
      command: launcherCommand(options),
      env: { ...setAside(Object.fromEntries(kept), 'launch'), [WITH_AGENT]: privateDir ?? '' },
      stdio: ['pipe', 'inherit', 'inherit'],
      clock: systemClock,
    })
    const marker = { name: MARKER, value: keys.tree }
    const killRest = async () => {
      const tree = createProcessTree({ marker, clock: systemClock, alone: false })
      // An unknown state counts as alive.
      while ((await tree.kill(KILL_WITHIN_MS).catch(() => ['unknown'])).length > 0);
    }
    const code = await runAgent(options.agent, keys, {
      started: () => launcher.start(),
      reclaim: async () => {
        await launcher.ended('SIGKILL', END_WITHIN_MS)
        await killRest()
      },
    })
    launcher.retire()
    await launcher.ended('SIGTERM', END_WITHIN_MS)
    // A launcher that died during the preparation of a standby leaves its processes.
    await killRest()
    return code
  } finally {
    if (privateDir !== null) rmSync(privateDir, { recursive: true, force: true })
  }
}

function makePrivate(directory: string): void {
  try {
    makeDirectory(directory, 0o700)
  } catch (error) {
    const remedy = 'make $TMPDIR a writable directory, or set --socket and --state-dir'
    throw new FatalError(`cannot create ${directory} (${reasonOf(error)}): ${remedy}`, { cause: error })
  }
}

function launcherCommand({ launcher }: RunOptions): [string, ...string[]] {
  return [
    process.execPath,
    ...process.execArgv,
    // As in `reexec`.
    '--',
    process.argv[1] as string,
    'launch',
    `--socket=${launcher.socket}`,
    `--stop-timeout=${launcher.stopTimeoutMs}ms`,
    `--log-level=${launcher.logLevel}`,
    ...launcher.handoverOnChange.map((path) => `--handover-on-change=${path}`),
    ...launcher.envFile.map((path) => `--env-file=${path}`),
    '--',
    ...launcher.command,
  ]
}

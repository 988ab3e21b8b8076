import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { IN_PODS } from '../config/command-line.ts'
import { type LauncherOptions, launcherOptions } from '../config/options.ts'
import { ContentWatch } from '../launcher/content-watch.ts'
import { EnvFiles } from '../launcher/env-files.ts'
import { KNOWN } from '../launcher/langflow-command.ts'
import { langflowVersion } from '../launcher/langflow-package.ts'
import { Launcher } from '../launcher/launcher.ts'
import { localMachine } from '../launcher/local-machine.ts'
import { givenEnvironment } from '../launcher/workload-environment.ts'
import { LinkClient } from '../link/link-client.ts'
import { createLog, type Log } from '../observe/log.ts'
import { isAlone } from '../processes/membership.ts'

export function addLaunch(program: Command): void {
  const command = program
    .command('launch')
    .helpGroup(IN_PODS)
    .description("start, freeze and stop LangFlow on the agent's orders, as PID 1 of LangFlow's container")
  const read = launcherOptions(command)
  command.action(async () => {
    process.exitCode = await launch(read())
  })
}

async function launch(options: LauncherOptions): Promise<number> {
  const alone = isAlone()
  const leash = process.env[WITH_AGENT]
  delete process.env[WITH_AGENT] // the workload must not see it
  const log = createLog({ component: 'launcher', level: options.logLevel, identity: '' })
  const given = givenEnvironment(process.env)
  const env = new EnvFiles(options.envFile, given)
  if (options.envFile.length > 0) keepOutOfCores(log)
  await env.read()
  const tini = join(dirname(process.execPath), 'tini')
  const reaper = alone && existsSync(tini) ? [tini, '-s', '--'] : []
  if (alone && reaper.length === 0)
    log.warn(
      `tini is missing next to ${process.execPath}, so ended processes of LangFlow are not reaped: use langflow-leader install`,
    )
  if (!alone && leash === undefined)
    log.warn('the launcher is not PID 1, so a flow can stop or kill it: make it the command of its container')
  const parentGone = leash === undefined ? null : process.stdin
  const langflow = () => langflowVersion(options.command, env.environment)
  if (langflow() === null && options.command.some((word) => word.includes('langflow')))
    log.warn(
      `LangFlow's version cannot be read from this command, so an older LangFlow may use the database of a newer one: start it with ${KNOWN}`,
    )
  const clock = systemClock
  const launcher = new Launcher({
    langflow,
    content: (changed) => new ContentWatch({ paths: options.handoverOnChange, env, clock, changed }),
    stopTimeoutMs: options.stopTimeoutMs,
    alone,
    log,
    link: (handlers) => new LinkClient(options.socket, clock, handlers),
    machine: localMachine(options, env, alone, reaper, log),
  })
  const terminate = () => launcher.dispatch({ type: 'leave', defect: null })
  process.on('SIGTERM', terminate)
  process.on('SIGINT', terminate)
  parentGone?.resume().on('close', () => launcher.dispatch({ type: 'orphaned' }))
  launcher.start()
  const code = await launcher.ended
  // A killed agent could not remove it itself.
  if (leash && parentGone?.readableEnded) rmSync(leash, { recursive: true, force: true })
  parentGone?.destroy()
  // Node would wait for a thread that reads from a volume which does not answer. The kernel ends that thread.
  if (process.getActiveResourcesInfo().includes('FSReqPromise'))
    process.execve?.(process.execPath, [process.execPath, '-e', `process.exit(${code})`])
  return code
}

function keepOutOfCores(log: Pick<Log, 'warn'>): void {
  try {
    writeFileSync('/proc/self/coredump_filter', '0')
  } catch (error) {
    log.warn(`a core dump may contain the variables of --env-file: ${(error as Error).message}`)
  }
}

/**
 * Set by `run` for its own launcher, whose standard input it keeps open: that launcher must not outlive it. The value
 * is the directory that belongs to both, or empty.
 */
export const WITH_AGENT = 'LANGFLOW_LEADER_WITH_AGENT'

import type { Clock } from '../clock.ts'
import { FatalError } from '../exit.ts'
import { Interruption, onInterruption } from './interruption.ts'
import { readable, TITLES, timingsOf } from './report.ts'
import type { Result } from './result.ts'
import type { DemoOptions } from './settings.ts'
import { createShow, type Show } from './show.ts'
import { KINDS, recover, takeOver } from './takeover.ts'
import { Theatre } from './theatre.ts'
import { beatsDir } from './troupe.ts'
import { judge } from './verdict.ts'

/** How long the new leader is watched before the lost replica comes back and might hide that it still acts. */
const WATCH_MS = 1_000

/**
 * Shows three takeovers, each of a kind, and measures them. Resolves to the exit code; rejects with a `FatalError` that
 * says what went wrong and where the logs are. Whatever happens, nothing but those logs is left.
 */
export async function runDemo(options: DemoOptions, env: NodeJS.ProcessEnv, clock: Clock): Promise<number> {
  const stream = options.json ? process.stderr : process.stdout
  const abort = new AbortController()
  const deafen = onInterruption(stream, (why) => abort.abort(why))
  const show = createShow(stream, clock)
  try {
    const theatre = await Theatre.open({ options, env, clock, show, abort })
    const result = await perform(theatre, options, show)
    show.result(result)
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`)
    if (result.ok) return 0
    throw new FatalError(
      `two replicas acted at once for ${readable(result.overlapMs)}: see the logs in ${result.logs}`,
    )
  } catch (error) {
    show.close()
    if (!(error instanceof Interruption)) throw error
    process.stderr.write(`${error.message}: all that was started has ended, nothing is left\n`)
    return error.exitCode
  } finally {
    deafen()
  }
}

async function perform(theatre: Theatre, options: DemoOptions, show: Show): Promise<Result> {
  const { scene, ground, client, answers, journal } = theatre
  let keepLogs = false
  try {
    show.open(introduction(options), scene, (name) => theatre.isOpen(name))
    theatre.start()
    await play(theatre)
    client.stop()
    const judged = judge(beatsDir(ground), answers, journal)
    keepLogs = judged.overlapMs > 0
    const { leaseDurationMs, renewDeadlineMs, retryPeriodMs, killMarginMs } = options
    return {
      ok: !keepLogs,
      takeovers: scene.takeovers,
      ...judged,
      requests: { sent: client.requests.length, failed: client.failed },
      timings: { leaseDurationMs, renewDeadlineMs, retryPeriodMs, killMarginMs },
      elapsedMs: Math.round(scene.elapsedMs),
      logs: keepLogs ? ground.logs : null,
    }
  } catch (error) {
    if (!(error instanceof FatalError)) throw error
    keepLogs = true
    throw new FatalError(`${error.message}: see the logs in ${ground.logs}`, { cause: error })
  } finally {
    await theatre.close(keepLogs)
  }
}

/** The first leader, and then one takeover after the other. */
async function play(theatre: Theatre): Promise<void> {
  const { scene, stage, journal, client } = theatre
  const first = await stage.until('the first leader to serve', stage.serveWithinMs, () =>
    journal.find(0, ({ event }) => event === 'serving'),
  )
  let leader = first.replica
  await stage.until('the front door to open', stage.acquireWithinMs, () => theatre.isOpen(leader) || null)
  client.start()
  await stage.until(
    'all three replicas',
    stage.acquireWithinMs,
    () => [...scene.replicas.values()].every(({ role, standby }) => role === 'leader' || standby) || null,
  )
  for (const [n, kind] of KINDS.entries()) {
    await stage.until(`the client to be answered by ${leader}`, stage.serveWithinMs, () =>
      client.requests.findLast(({ replica }) => replica === leader),
    )
    scene.current = kind
    scene.announce(`${n + 1} of ${KINDS.length}: ${kind} of ${leader}: ${TITLES[kind]}`)
    const takeover = await takeOver(kind, leader, stage)
    scene.takeovers.push(takeover)
    scene.tell(
      `${takeover.to} has taken over; the client was without answers for ${readable(takeover.gapMs)}`,
    )
    const since = stage.clock.mono()
    const watched = () => stage.clock.mono() - since >= WATCH_MS || null
    await stage.until('whether the old workload still acts', stage.acquireWithinMs, watched)
    await recover(takeover, stage)
    scene.current = null
    leader = takeover.to
  }
}

function introduction(options: DemoOptions): string {
  const workload = options.command === null ? 'a small stand-in for LangFlow' : options.command.join(' ')
  return `langflow-leader demo: three replicas of ${workload}, one Lease (${timingsOf(options)})`
}

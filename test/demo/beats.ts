import { once } from 'node:events'
import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { systemClock } from '../../agent/clock.ts'
import { FatalError } from '../../agent/exit.ts'

/** LangFlow's own two health answers. */
const HEALTH: Readonly<Record<string, object>> = {
  '/health': { status: 'ok' },
  '/health_check': { status: 'ok', chat: 'ok', db: 'ok' },
}

/**
 * A small stand-in for LangFlow: answers on its port, names its replica and epoch, beats for as long as it executes
 * (`null`: for nobody), and ends on SIGTERM once the requests in flight are answered.
 */
export async function serveStandIn(
  port: number,
  beatsDir: string | null,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const { LEADER_IDENTITY: replica, LEADER_EPOCH: epoch } = env
  if (!replica || !epoch) throw new FatalError('this is started by the demo: npm run demo')
  const beating = beatsDir === null ? undefined : beat(join(beatsDir, `${replica}.${epoch}.${process.pid}`))
  const hello = { replica, epoch: Number(epoch), text: `Hello from ${replica}, leader in epoch ${epoch}.` }
  const server = createServer(({ url = '' }, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(`${JSON.stringify(HEALTH[url] ?? hello)}\n`)
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  await once(process, 'SIGTERM')
  server.close()
  server.closeIdleConnections()
  await once(server, 'close')
  clearInterval(beating)
}

/**
 * Writes the monotonic time to a file of the process's own, at once and then in each period, for as long as it executes. Each line
 * is one write(2), so that SIGKILL leaves nothing unwritten.
 */
function beat(file: string): NodeJS.Timeout {
  const fd = openSync(file, 'a')
  const write = () => writeSync(fd, `${systemClock.mono()}\n`)
  write()
  return setInterval(write, RHYTHMS.beats.periodMs)
}

/** All that the workloads wrote; an actor is `REPLICA.EPOCH.PID`. A last line that SIGKILL cut short is left out. */
export function readBeats(dir: string): Beat[] {
  return readdirSync(dir).flatMap((actor) => {
    const lines = readFileSync(join(dir, actor), 'latin1').split('\n').slice(0, -1)
    return lines.map((line) => ({ actor, at: Number(line) }))
  })
}

/** One sign that an actor executed at an instant: a line it wrote, or an answer it gave. */
export interface Beat {
  /** One process that acts, e.g. a replica's workload in one epoch. */
  readonly actor: string
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly at: number
}

export interface Interval {
  readonly actor: string
  readonly from: number
  readonly to: number
}

export interface Rhythm {
  /** Milliseconds from one beat to the next; the actor may go on for so long after its last one. */
  readonly periodMs: number
  /**
   * A longer silence, in milliseconds, is one in which the actor did not execute (frozen, or dead). Too long finds
   * overlaps that were none, too short hides real ones: so it is much longer than a busy machine delays a beat.
   */
  readonly silenceMs: number
}

/**
 * How the stand-in beats, and how often the port of any other workload is asked. Not even a busy machine delays a process by a
 * quarter of a second; for an answer a busy workload may need nearly one.
 */
export const RHYTHMS = {
  beats: { periodMs: 10, silenceMs: 250 },
  answers: { periodMs: 50, silenceMs: 1_000 },
} as const satisfies Record<string, Rhythm>

/** When each actor acted, in the order of its beats. */
export function actingIntervals(beats: readonly Beat[], { periodMs, silenceMs }: Rhythm): Interval[] {
  const intervals: Interval[] = []
  for (const [actor, own] of Map.groupBy(beats, (beat) => beat.actor)) {
    const times = own.map((beat) => beat.at).sort((a, b) => a - b)
    let from = times[0]!
    for (const [n, at] of times.entries()) {
      const next = times[n + 1]
      if (next !== undefined && next - at <= silenceMs) continue
      intervals.push({ actor, from, to: at + periodMs })
      from = next ?? at
    }
  }
  return intervals
}

/** Milliseconds during which at least two different actors acted; 0 when they only touch. */
export function overlapMs(intervals: readonly Interval[]): number {
  const edges = intervals.flatMap(({ from, to }) => [from, to]).sort((a, b) => a - b)
  let total = 0
  for (const [n, edge] of edges.entries()) {
    const acting = intervals.filter(({ from, to }) => from <= edge && edge < to)
    if (new Set(acting.map(({ actor }) => actor)).size > 1) total += edges[n + 1]! - edge
  }
  return total
}

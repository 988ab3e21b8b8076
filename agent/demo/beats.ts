import { mkdirSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import type { Beat, Rhythm } from './overlap.ts'

/** How the stand-in beats. A quarter of a second without a beat: not even a busy machine delays a process so long. */
export const BEATING: Rhythm = { periodMs: 10, silenceMs: 250 }

export interface Beater {
  readonly replica: string
  readonly epoch: number
}

/**
 * Writes a line {replica, epoch, mono} at once and then every 10 ms, for as long as the process executes. Each process
 * has a file of its own and each line is one write(2), so that SIGKILL leaves nothing unwritten.
 * Returns what ends it.
 */
export function beat(dir: string, { replica, epoch }: Beater, clock: Clock): () => void {
  mkdirSync(dir, { recursive: true })
  const fd = openSync(join(dir, `${replica}.${epoch}.${process.pid}`), 'a')
  const once = () => {
    writeSync(fd, `${JSON.stringify({ replica, epoch, mono: clock.mono() })}\n`)
    timer = clock.after(BEATING.periodMs, once)
  }
  let timer = clock.after(0, () => {})
  once()
  return () => timer.cancel()
}

export interface Beats {
  readonly beats: Beat[]
  /** `replica-a/3`: who beat, in which epoch. */
  readonly terms: ReadonlySet<string>
}

/** All that the workloads wrote. A last line that SIGKILL cut short is left out. */
export function readBeats(dir: string): Beats {
  const beats: Beat[] = []
  const terms = new Set<string>()
  for (const actor of readdirSync(dir)) {
    const lines = readFileSync(join(dir, actor), 'utf8').split('\n').slice(0, -1)
    for (const line of lines) {
      const { replica, epoch, mono } = JSON.parse(line) as Beater & { mono: number }
      beats.push({ actor, at: mono })
      terms.add(termOf(replica, epoch))
    }
  }
  return { beats, terms }
}

export function termOf(replica: string, epoch: number): string {
  return `${replica}/${epoch}`
}

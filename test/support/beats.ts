import { existsSync, readFileSync } from 'node:fs'

export interface Beat {
  readonly replica: string
  readonly epoch: number
  readonly pid: number
  readonly what: 'start' | 'beat' | 'stop'
  /** CLOCK_MONOTONIC in ms. */
  readonly mono: number
  /** Of a tree of several: which of its processes. */
  readonly role?: 'parent' | 'master' | 'worker'
}

/** Beats come each 10 ms; a longer silence than this is time in which a process did not execute. */
const SILENCE_MS = 100

export function readBeats(file: string): Beat[] {
  if (!existsSync(file)) return []
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.endsWith('}'))
    .map((line) => JSON.parse(line) as Beat)
}

interface Span {
  readonly owner: string
  readonly from: number
  to: number
}

/** When each replica's processes executed, by epoch: what the workloads wrote, and nothing else, decides. */
export function spansOf(beats: readonly Beat[]): Span[] {
  const spans: Span[] = []
  const last = new Map<string, Span>()
  for (const { replica, epoch, pid, mono } of [...beats].sort((a, b) => a.mono - b.mono)) {
    const key = `${replica}/${epoch}/${pid}`
    const span = last.get(key)
    if (span !== undefined && mono - span.to <= SILENCE_MS) {
      span.to = mono
    } else {
      const begun = { owner: `${replica}/${epoch}`, from: mono, to: mono }
      spans.push(begun)
      last.set(key, begun)
    }
  }
  return spans
}

/** Milliseconds during which workloads of two replicas, or of two epochs, executed at once. */
export function overlapMs(beats: readonly Beat[]): number {
  const spans = spansOf(beats)
  let total = 0
  for (const [n, a] of spans.entries()) {
    for (const b of spans.slice(n + 1)) {
      if (a.owner !== b.owner) total += Math.max(0, Math.min(a.to, b.to) - Math.max(a.from, b.from))
    }
  }
  return total
}

/**
 * Signs of life of a term after the first one of a later term: unlike the overlap, this takes no silence for the end
 * of a process.
 */
export function lateBeats(beats: readonly Beat[]): Beat[] {
  let newest = 0
  return [...beats]
    .sort((a, b) => a.mono - b.mono)
    .filter(({ epoch }) => {
      newest = Math.max(newest, epoch)
      return epoch < newest
    })
}

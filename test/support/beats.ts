import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { Terms } from './terms.ts'

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

const PERIOD_MS = 10
/** A longer silence than this is time in which a process did not execute. */
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
  for (const { replica, epoch, pid, mono } of inOrder(beats)) {
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

/**
 * Milliseconds during which workloads of two replicas, or of two epochs, executed at once. A sign of life that lies alone
 * in another one's time stands for the period in which such signs come.
 */
export function overlapMs(beats: readonly Beat[]): number {
  const spans = spansOf(beats)
  let total = 0
  for (const [n, a] of spans.entries()) {
    for (const b of spans.slice(n + 1)) {
      const shared = Math.min(a.to, b.to) - Math.max(a.from, b.from)
      if (a.owner !== b.owner && shared >= 0) total += Math.max(PERIOD_MS, shared)
    }
  }
  return total
}

/**
 * Signs of life of a term after a later one had begun, or of one in an epoch that is not the highest: unlike the overlap,
 * this takes no silence for the end of a process.
 */
export function lateBeats(beats: readonly Beat[]): Beat[] {
  const terms = new Terms()
  return inOrder(beats).filter((beat) => terms.add(beat).length > 0)
}

/** Throws where two acted at once, or a term did after a later one had begun. */
export function assertOneActed(beats: readonly Beat[]): void {
  assert.equal(overlapMs(beats), 0, 'two workloads acted at once')
  assert.deepEqual(lateBeats(beats), [], 'a workload acted after a later term had begun')
}

function inOrder(beats: readonly Beat[]): Beat[] {
  return [...beats].sort((a, b) => a.mono - b.mono)
}

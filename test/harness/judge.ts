import assert from 'node:assert/strict'
import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs'

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

export interface Term {
  readonly replica: string
  readonly epoch: number
  /** Monotonic ms of its first and its last sign of life so far. */
  readonly first: number
  last: number
}

/** What a sign of life tells that must not be. */
export interface Finding {
  readonly what: 'late' | 'epoch'
  /** The term that acted on, or began in an epoch that is not the highest. */
  readonly term: Term
  /** The term that had begun, or was there, before. */
  readonly other: Term
  /** Monotonic ms. */
  readonly at: number
}

/** The terms of all replicas in the order of their first signs of life. Beats may come in any order. */
export class Terms {
  readonly list: Term[] = []
  readonly #byOwner = new Map<string, Term>()

  /** The term that had begun last at that time. */
  at(time: number): Term | undefined {
    return this.list.findLast(({ first }) => first <= time)
  }

  /** The term that began next after this one. */
  after(term: Term): Term | undefined {
    return this.list[this.list.lastIndexOf(term) + 1]
  }

  add({ replica, epoch, mono }: Beat): Finding[] {
    const owner = `${replica}/${epoch}`
    const term = this.#byOwner.get(owner)
    if (term !== undefined) {
      term.last = Math.max(term.last, mono)
      const next = this.after(term)
      return next !== undefined && mono > next.first ? [{ what: 'late', term, other: next, at: mono }] : []
    }
    const begun: Term = { replica, epoch, first: mono, last: mono }
    this.#byOwner.set(owner, begun)
    const place = this.list.findLastIndex(({ first }) => first <= mono) + 1
    const before = this.list[place - 1]
    const after = this.list[place]
    this.list.splice(place, 0, begun)
    const findings: Finding[] = []
    if (before !== undefined && before.epoch >= epoch)
      findings.push({ what: 'epoch', term: begun, other: before, at: mono })
    if (after !== undefined && epoch >= after.epoch)
      findings.push({ what: 'epoch', term: after, other: begun, at: after.first })
    for (const earlier of this.list.slice(0, place))
      if (earlier.last > mono) findings.push({ what: 'late', term: earlier, other: begun, at: earlier.last })
    return findings
  }
}

const CHUNK_BYTES = 2 ** 18

/** Reads what the workloads add to their log, and nothing twice. */
export class BeatLog {
  readonly #file: string
  readonly #buffer = Buffer.allocUnsafe(CHUNK_BYTES)
  #fd: number | undefined
  #offset = 0
  #rest = ''

  constructor(file: string) {
    this.#file = file
  }

  /** Every whole line since the last call. */
  *read(): Generator<Beat> {
    if (this.#fd === undefined) {
      if (!existsSync(this.#file)) return
      this.#fd = openSync(this.#file, 'r')
    }
    for (;;) {
      const length = readSync(this.#fd, this.#buffer, 0, CHUNK_BYTES, this.#offset)
      if (length === 0) return
      this.#offset += length
      const lines = (this.#rest + this.#buffer.toString('latin1', 0, length)).split('\n')
      this.#rest = lines.pop() as string
      for (const line of lines) yield JSON.parse(line) as Beat
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
  }
}

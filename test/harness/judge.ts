import assert from 'node:assert/strict'
import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs'

export interface Beat {
  readonly replica: string
  readonly epoch: number
  readonly pid: number
  readonly what: 'start' | 'beat' | 'stop'
  /** CLOCK_MONOTONIC in ms. */
  readonly mono: number
  readonly role?: 'parent' | 'master' | 'worker'
}

const PERIOD_MS = 10
/** After a longer silence, the process counts as not executing during the silence. */
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

/** The times in which each replica's processes executed, by epoch. Only the workloads' own beats decide. */
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
 * Milliseconds during which workloads of two replicas, or of two epochs, executed at the same time. A single beat in another
 * term counts as one period.
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
 * Beats of a term after a later one began, and the first beats of terms whose epoch isn't the highest. Unlike the overlap, this
 * doesn't take a silence as the end of a process.
 */
export function lateBeats(beats: readonly Beat[]): Beat[] {
  const terms = new Terms()
  return inOrder(beats).filter((beat) => terms.add(beat).length > 0)
}

export function assertOneActed(beats: readonly Beat[]): void {
  assert.equal(overlapMs(beats), 0, 'two workloads acted at the same time')
  assert.deepEqual(lateBeats(beats), [], 'a workload acted after a later term began')
}

function inOrder(beats: readonly Beat[]): Beat[] {
  return [...beats].sort((a, b) => a.mono - b.mono)
}

export interface Term {
  readonly replica: string
  readonly epoch: number
  readonly first: number
  last: number
}

export interface Finding {
  readonly what: 'late' | 'epoch'
  readonly term: Term
  readonly other: Term
  readonly at: number
}

export type Invariant =
  | 'at most one acts'
  | 'epochs grow'
  | 'at most one is ready'
  | 'exactly one serves again'

export class Violation extends Error {
  readonly invariant: Invariant

  constructor(invariant: Invariant, sentence: string) {
    super(sentence)
    this.invariant = invariant
  }
}

/** The terms of all replicas, ordered by their first beats. Beats may be added in any order. */
export class Terms {
  readonly list: Term[] = []
  readonly #byOwner = new Map<string, Term>()

  at(time: number): Term | undefined {
    return this.list.findLast(({ first }) => first <= time)
  }

  add({ replica, epoch, mono }: Beat): Finding[] {
    const owner = `${replica}/${epoch}`
    const term = this.#byOwner.get(owner)
    if (term !== undefined) {
      term.last = Math.max(term.last, mono)
      const next = this.list[this.list.lastIndexOf(term) + 1]
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

/** Judges a run while it goes on, and throws `Violation` at the first breach. */
export class Judge {
  readonly terms = new Terms()
  beats = 0
  readyAnswers = 0
  #waiting: { readonly replica: string; readonly sentAt: number }[] = []

  beat(beat: Beat): void {
    this.beats += 1
    const [finding] = this.terms.add(beat)
    if (finding === undefined) return
    const { what, term, other, at } = finding
    const name = ({ replica, epoch }: Term) => `${replica} (epoch ${epoch})`
    throw what === 'epoch'
      ? new Violation('epochs grow', `${name(term)} began at ${ms(at)}, after ${name(other)}`)
      : new Violation(
          'at most one acts',
          `${name(term)} acted at ${ms(at)}, ${ms(at - other.first)} after ${name(other)} had begun`,
        )
  }

  /** Records that the replica answered that it is ready. `settle` judges it when all beats before the request are read. */
  ready(replica: string, sentAt: number): void {
    this.#waiting.push({ replica, sentAt })
  }

  /** All beats up to `until`, in monotonic ms, have been passed to `beat`. */
  settle(until: number): void {
    const due = this.#waiting.filter(({ sentAt }) => sentAt <= until)
    this.#waiting = this.#waiting.filter(({ sentAt }) => sentAt > until)
    for (const { replica, sentAt } of due) {
      this.readyAnswers += 1
      // Two ready answers prove nothing, because they have different times. But a replica that is asked after another one's
      // workload has begun must not be ready.
      const term = this.terms.at(sentAt)
      if (term !== undefined && term.replica !== replica)
        throw new Violation(
          'at most one is ready',
          `${replica} was asked at ${ms(sentAt)} and is ready, ${ms(sentAt - term.first)} after ${term.replica} had begun to act`,
        )
    }
  }
}

const ms = (time: number) => `${time.toFixed(1)} ms`

const CHUNK_BYTES = 2 ** 18

export class BeatLog {
  readonly #file: string
  readonly #buffer = Buffer.allocUnsafe(CHUNK_BYTES)
  #fd: number | undefined
  #offset = 0
  #rest = ''

  constructor(file: string) {
    this.#file = file
  }

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

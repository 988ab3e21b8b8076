import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Instant, later } from '../../agent/clock.ts'
import { readBoot } from '../../agent/link/link-client.ts'
import type { Grant } from '../../agent/link/link-messages.ts'
import { BootOffset } from '../../agent/link/link-server.ts'

const DAY_MS = 86_400_000
const STEP_MS = 10

/** An agent and a launcher on one machine. The launcher's boot clock is `behindMs` behind. */
class Pair {
  readonly offset = new BootOffset()
  private readonly behindMs: number
  private mono = 5_000
  private slept = 4_000

  constructor(behindMs: number) {
    this.behindMs = behindMs
  }

  /** The launcher reads its clocks, then the agent does. The machine may sleep between any two of the four readings. */
  compare({ sleepMs = 0, laterMs = 3 } = {}): void {
    const theirs = { boot: this.bootMs(this.behindMs), mono: this.mono }
    this.slept += sleepMs
    this.mono += laterMs
    this.offset.compare(theirs, this.now())
  }

  now(): Instant {
    return { mono: this.mono, boot: this.bootMs(0), wall: 0 }
  }

  grant(): Grant {
    const at = later(this.now(), 14_000)
    return { epoch: 1, identity: 'a', doubtAt: at, killAt: at, onDoubt: 'freeze' }
  }

  /** Milliseconds by which a grant ends after the agent's deadline, on the launcher's boot clock. */
  longerBy(): number {
    return this.offset.translate(this.grant()).killAt.boot - (this.bootMs(this.behindMs) + 14_000)
  }

  private bootMs(behindMs: number): number {
    return Math.floor((this.mono + this.slept - behindMs) / STEP_MS) * STEP_MS
  }
}

describe('a grant on the boot clock of another container', () => {
  test('stays as it is if both share one boot clock, or if only an earlier launcher has reported its clock', () => {
    for (const behindMs of [0, DAY_MS]) {
      const pair = new Pair(behindMs)
      pair.compare()
      if (behindMs !== 0) pair.offset.forget()
      const grant = pair.grant()
      assert.equal(pair.offset.translate(grant), grant)
    }
  })

  test('ends at the agent’s deadline if that clock is ahead or behind', () => {
    for (const behindMs of [DAY_MS, -DAY_MS, 1_234]) {
      const pair = new Pair(behindMs)
      for (let n = 0; n < 20; n++) pair.compare()
      assert.ok(Math.abs(pair.longerBy()) <= 2 * STEP_MS)
      assert.equal(pair.offset.translate(pair.grant()).killAt.mono, pair.now().mono + 14_000)
    }
  })

  test('is not extended by a suspension between two readings, and has its full length after the next readings', () => {
    const pair = new Pair(DAY_MS)
    pair.compare({ sleepMs: 60_000 })
    assert.ok(pair.longerBy() < -50_000)
    pair.compare()
    assert.ok(Math.abs(pair.longerBy()) <= 2 * STEP_MS)
    pair.compare({ sleepMs: 60_000 })
    assert.ok(Math.abs(pair.longerBy()) <= 2 * STEP_MS)
  })

  test('relies on readings of the boot clock before the monotonic clock', () => {
    let read = 0
    const clock = { now: () => ({ mono: 0, boot: ++read, wall: 0 }), mono: () => ++read }
    assert.deepEqual(readBoot(clock), { boot: 1, mono: 2 })
  })
})

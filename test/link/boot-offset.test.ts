import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Instant, later } from '../../agent/clock.ts'
import { readBoot } from '../../agent/link/client.ts'
import type { Grant } from '../../agent/link/messages.ts'
import { BootOffset } from '../../agent/link/server.ts'

const DAY_MS = 86_400_000
const STEP_MS = 10

/** One machine that can be suspended, with an agent, and a launcher in a container whose /proc/uptime counts from another start. */
class Machine {
  mono = 5_000
  boot = 9_000
  readonly aheadMs: number
  readonly offset = new BootOffset()

  constructor(aheadMs: number) {
    this.aheadMs = aheadMs
  }

  suspend(ms: number): void {
    this.boot += ms
  }

  run(ms: number): void {
    this.mono += ms
    this.boot += ms
  }

  agent(): Instant {
    return { mono: this.mono, boot: stepped(this.boot), wall: 0 }
  }

  launcherBoot(): number {
    return stepped(this.boot - this.aheadMs)
  }

  /** The launcher reads its clocks, and the agent does a little later. */
  compare(laterMs = 3): void {
    const theirs = { boot: this.launcherBoot(), mono: this.mono }
    this.run(laterMs)
    this.offset.heard(theirs, this.agent())
  }

  grant(): Grant {
    const at = later(this.agent(), 14_000)
    return { epoch: 1, identity: 'a', doubtAt: at, killAt: at, onDoubt: 'freeze' }
  }

  /** How much later than the agent meant it a grant ends on the launcher's boot clock. */
  longerBy(): number {
    return this.offset.translate(this.grant()).killAt.boot - (this.launcherBoot() + 14_000)
  }
}

function stepped(ms: number): number {
  return Math.floor(ms / STEP_MS) * STEP_MS
}

describe('a grant on the boot clock of another container', () => {
  test('is left as it is where both clocks are one, and where only another launcher has said something', () => {
    for (const laterMs of [0, 3, 7, STEP_MS]) {
      const one = new Machine(0)
      const another = new Machine(DAY_MS)
      for (const machine of [one, another]) {
        machine.compare(laterMs)
        if (machine === another) machine.offset.forget()
        const grant = machine.grant()
        assert.equal(machine.offset.translate(grant), grant)
      }
    }
  })

  for (const aheadMs of [DAY_MS, -DAY_MS, 1_234]) {
    test(`that is ${-aheadMs} ms ahead ends when the agent meant it`, () => {
      const machine = new Machine(aheadMs)
      for (let n = 0; n < 20; n++) machine.compare()
      assert.ok(Math.abs(machine.longerBy()) <= 2 * STEP_MS)
      assert.equal(machine.offset.translate(machine.grant()).killAt.mono, machine.mono + 14_000)
    })
  }

  for (const [when, at] of [
    'the launcher reads its clocks',
    'on the way',
    'the agent reads its clocks',
  ].entries()) {
    test(`is never longer for a suspend while ${at}, and no shorter once there is another reading`, () => {
      const machine = new Machine(DAY_MS)
      const compare = (suspendMs: number) => {
        const boot = machine.launcherBoot()
        if (when === 0) machine.suspend(suspendMs)
        const { mono } = machine
        if (when === 1) machine.suspend(suspendMs)
        const mine = machine.mono
        if (when === 2) machine.suspend(suspendMs)
        machine.offset.heard({ boot, mono }, { ...machine.agent(), mono: mine })
      }
      compare(60_000)
      assert.ok(machine.longerBy() < -50_000)
      compare(0)
      assert.ok(Math.abs(machine.longerBy()) <= 2 * STEP_MS)
      compare(60_000)
      assert.ok(Math.abs(machine.longerBy()) <= 2 * STEP_MS)
    })
  }

  test('is read boot first, then mono', () => {
    const machine = new Machine(0)
    const clock = {
      now: () => {
        const now = machine.agent()
        machine.run(1)
        return now
      },
      mono: () => machine.mono,
    }
    assert.deepEqual(readBoot(clock), { boot: 9_000, mono: 5_001 })
  })
})

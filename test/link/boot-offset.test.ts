import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Instant } from '../../agent/clock.ts'
import { BootOffset, readBoot } from '../../agent/link/boot-offset.ts'
import type { Grant } from '../../agent/link/messages.ts'

const DAY_MS = 86_400_000
const STEP_MS = 10

/** One machine that can be suspended, and a container on it whose /proc/uptime counts from another start. */
class Machine {
  mono = 5_000
  boot = 9_000
  readonly aheadMs: number

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
    return { mono: this.mono, boot: this.stepped(this.boot), wall: 0 }
  }

  launcherBoot(): number {
    return this.stepped(this.boot - this.aheadMs)
  }

  private stepped(ms: number): number {
    return Math.floor(ms / STEP_MS) * STEP_MS
  }
}

function grantUntil(at: Instant): Grant {
  return { epoch: 1, identity: 'a', doubtAt: at, killAt: at, onDoubt: 'freeze' }
}

/** How much later than the agent meant it a grant ends on the launcher's boot clock. */
function longerBy(machine: Machine, offset: BootOffset): number {
  const now = machine.agent()
  const { killAt } = offset.translate(grantUntil({ ...now, boot: now.boot + 14_000 }))
  return killAt.boot - (machine.launcherBoot() + 14_000)
}

describe('a grant on the boot clock of another container', () => {
  test('is left as it is where both clocks are one', () => {
    for (const ms of [0, 3, 7, STEP_MS]) {
      const machine = new Machine(0)
      const offset = new BootOffset()
      const theirs = { boot: machine.launcherBoot(), mono: machine.mono }
      machine.run(ms)
      offset.heard(theirs, machine.agent())
      const grant = grantUntil(machine.agent())
      assert.equal(offset.translate(grant), grant)
    }
  })

  for (const aheadMs of [DAY_MS, -DAY_MS, 1_234]) {
    test(`that is ${-aheadMs} ms ahead ends when the agent meant it`, () => {
      const machine = new Machine(aheadMs)
      const offset = new BootOffset()
      for (let n = 0; n < 20; n++) {
        const theirs = { boot: machine.launcherBoot(), mono: machine.mono }
        machine.run(3)
        offset.heard(theirs, machine.agent())
      }
      assert.ok(Math.abs(longerBy(machine, offset)) <= 2 * STEP_MS)
      assert.equal(offset.translate(grantUntil(machine.agent())).killAt.mono, machine.mono)
    })
  }

  for (const [when, at] of [
    'the launcher reads its clocks',
    'on the way',
    'the agent reads its clocks',
  ].entries()) {
    test(`is never longer for a suspend while ${at}, and no shorter once there is another reading`, () => {
      const machine = new Machine(DAY_MS)
      const offset = new BootOffset()
      const read = (suspendMs: number) => {
        const boot = machine.launcherBoot()
        if (when === 0) machine.suspend(suspendMs)
        const { mono } = machine
        if (when === 1) machine.suspend(suspendMs)
        const mine = machine.mono
        if (when === 2) machine.suspend(suspendMs)
        offset.heard({ boot, mono }, { ...machine.agent(), mono: mine })
      }
      read(60_000)
      assert.ok(longerBy(machine, offset) < -50_000)
      read(0)
      assert.ok(Math.abs(longerBy(machine, offset)) <= 2 * STEP_MS)
      read(60_000)
      assert.ok(Math.abs(longerBy(machine, offset)) <= 2 * STEP_MS)
    })
  }

  test('is not translated by what another launcher said', () => {
    const machine = new Machine(DAY_MS)
    const offset = new BootOffset()
    offset.heard({ boot: machine.launcherBoot(), mono: machine.mono }, machine.agent())
    offset.forget()
    const grant = grantUntil(machine.agent())
    assert.equal(offset.translate(grant), grant)
  })

  test('is read boot first, then mono', () => {
    const machine = new Machine(0)
    const clock = {
      now: () => {
        const now = machine.agent()
        machine.suspend(1_000)
        machine.run(1)
        return now
      },
      mono: () => machine.mono,
    }
    assert.deepEqual(readBoot(clock), { boot: 9_000, mono: 5_001 })
  })
})

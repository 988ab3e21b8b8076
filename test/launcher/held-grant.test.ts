import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { later } from '../../agent/clock.ts'
import { HeldGrant } from '../../agent/launcher/held-grant.ts'
import type { Grant } from '../../agent/link/messages.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

class Bench {
  readonly clock = new VirtualClock()
  readonly held = new HeldGrant(this.clock)

  grant(epoch: number, renewedAgo = 0): Grant {
    const renewedAt = later(this.clock.now(), -renewedAgo)
    return {
      epoch,
      identity: 'me',
      doubtAt: later(renewedAt, 10_000),
      killAt: later(renewedAt, 14_000),
      onDoubt: 'freeze',
    }
  }

  accept(epoch: number, { renewedAgo = 0, living = null as number | null } = {}): string | null {
    return this.held.accept(this.grant(epoch, renewedAgo), living)
  }
}

describe('a held grant', () => {
  test('is replaced by a newer one, of its epoch or of a later one', async () => {
    const b = new Bench()
    assert.equal(b.accept(1), null)
    await b.clock.pass(1)
    assert.equal(b.accept(1), null)
    assert.equal(b.held.grant?.killAt.mono, b.clock.mono() + 14_000)
    assert.equal(b.accept(2, { renewedAgo: 5_000 }), null)
    assert.equal(b.held.grant?.epoch, 2)
  })

  test('is not replaced by a duplicate, an older one, or one of an earlier epoch', () => {
    const b = new Bench()
    b.accept(2, { renewedAgo: 1_000 })
    const { grant } = b.held
    assert.equal(b.accept(2, { renewedAgo: 1_000 }), null)
    assert.equal(b.accept(2, { renewedAgo: 1_001 }), 'it is older than the one in force')
    assert.equal(b.accept(1), 'epoch 1 is over')
    assert.equal(b.held.grant, grant)
  })

  test('is refused once its time is up', () => {
    const b = new Bench()
    assert.equal(b.accept(1, { renewedAgo: 14_000 }), 'it has expired')
    assert.equal(b.accept(1, { renewedAgo: 13_999 }), null)
  })

  test('is refused while processes of another epoch live', () => {
    const b = new Bench()
    assert.equal(b.accept(2, { living: 1 }), 'processes of epoch 1 still live')
    assert.equal(b.held.grant, null)
    assert.equal(b.accept(2, { living: 2 }), null)
  })

  test('that was closed is over with its epoch and every earlier one; one that has run out is not', () => {
    const b = new Bench()
    b.accept(3)
    b.held.expire()
    assert.equal(b.held.grant, null)
    assert.equal(b.accept(3), null)
    b.held.close()
    assert.equal(b.held.grant, null)
    assert.equal(b.accept(3), 'epoch 3 is over')
    assert.equal(b.accept(2), 'epoch 2 is over')
    // Nothing is held any more.
    b.held.close()
    assert.equal(b.accept(4), null)
  })
})

describe('processes may execute', () => {
  test('only under a grant, and until it is in doubt', async () => {
    const b = new Bench()
    assert.equal(b.held.mayExecute(), false)
    b.accept(1)
    await b.clock.pass(9_999)
    assert.equal(b.held.mayExecute(), true)
    await b.clock.pass(1)
    assert.equal(b.held.mayExecute(), false)
    assert.notEqual(b.held.grant, null, 'it is in force until somebody ends it')
    b.held.expire()
    assert.equal(b.held.mayExecute(), false)
  })

  test('not after a sleep of the machine that outlasts the doubt', () => {
    const b = new Bench()
    b.accept(1)
    b.clock.bootAhead += 30_000
    assert.equal(b.held.mayExecute(), false)
  })

  test('not where the wall clock alone says that the grant is over', () => {
    const b = new Bench()
    b.accept(1)
    b.clock.wallAhead += 13_999
    assert.equal(b.held.mayExecute(), true)
    b.clock.wallAhead += 1
    assert.equal(b.held.mayExecute(), false)
  })
})

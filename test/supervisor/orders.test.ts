import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { later } from '../../agent/clock.ts'
import type { Grant, ToLauncher } from '../../agent/link/messages.ts'
import { Orders } from '../../agent/supervisor/orders.ts'

const NOW = { mono: 1_000, boot: 1_000, wall: 1_000 }
const GRANT: Grant = {
  epoch: 3,
  identity: 'me',
  doubtAt: later(NOW, 10_000),
  killAt: later(NOW, 14_000),
  onDoubt: 'freeze',
}

function setUp() {
  const sent: ToLauncher[] = []
  const orders = new Orders((message) => sent.push(message))
  /** What is said again. */
  const repeated = () => {
    sent.length = 0
    orders.repeat()
    return sent
  }
  return { sent, orders, repeated }
}

describe('orders', () => {
  test('are sent as they are given', () => {
    const { sent, orders } = setUp()
    orders.grant(GRANT)
    orders.start(3)
    orders.stop(5_000)
    orders.kill()
    assert.deepEqual(sent, [
      { type: 'grant', grant: GRANT },
      { type: 'start', epoch: 3 },
      { type: 'stop', graceMs: 5_000 },
      { type: 'kill' },
    ])
  })

  test('of which nothing was given are not repeated, nor is a start', () => {
    const { orders, repeated } = setUp()
    assert.deepEqual(repeated(), [])
    orders.start(3)
    assert.deepEqual(repeated(), [])
  })

  test('to stop are repeated with the grant under which they are carried out', () => {
    const { orders, repeated } = setUp()
    orders.grant(GRANT)
    orders.start(3)
    orders.stop(5_000)
    assert.deepEqual(repeated(), [
      { type: 'grant', grant: GRANT },
      { type: 'stop', graceMs: 5_000 },
    ])
  })

  test('to kill end the grant', () => {
    const { orders, repeated } = setUp()
    orders.grant(GRANT)
    orders.kill()
    assert.deepEqual(repeated(), [{ type: 'kill' }])
  })

  test('are to end the workload from a stop or a kill until the next start', () => {
    const { orders } = setUp()
    assert.equal(orders.areToEnd, false)
    for (const end of [() => orders.stop(0), () => orders.kill()]) {
      end()
      assert.equal(orders.areToEnd, true)
      orders.start(4)
      assert.equal(orders.areToEnd, false)
    }
  })
})

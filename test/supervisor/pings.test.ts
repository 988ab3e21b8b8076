import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Pings } from '../../agent/supervisor/pings.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

class Bench {
  readonly clock = new VirtualClock()
  readonly ids: number[] = []
  silences = 0
  connected = true
  readonly pings: Pings

  constructor() {
    const bench = this
    this.pings = new Pings({
      clock: this.clock,
      link: {
        get connected() {
          return bench.connected
        },
        send: ({ id }) => void this.ids.push(id),
      },
      silent: () => void this.silences++,
    })
    this.pings.start()
  }
}

describe('a launcher', () => {
  test('is asked at once, and then each second', async () => {
    const b = new Bench()
    assert.deepEqual(b.ids, [0])
    await b.clock.pass(2_999)
    assert.deepEqual(b.ids, [0, 1, 2])
    b.pings.close()
    await b.clock.pass(10_000)
    assert.equal(b.ids.length, 3)
  })

  test('is silent with the fourth ping that it has not answered, which is told once', async () => {
    const b = new Bench()
    await b.clock.pass(2_999)
    assert.deepEqual([b.pings.isSilent, b.silences], [false, 0])
    await b.clock.pass(1)
    assert.deepEqual([b.pings.isSilent, b.silences], [true, 1])
    await b.clock.pass(10_000)
    assert.equal(b.silences, 1)
    b.pings.close()
  })

  test('is silent no more once it is heard, and may fall silent again', async () => {
    const b = new Bench()
    await b.clock.pass(3_000)
    b.pings.heard()
    assert.equal(b.pings.isSilent, false)
    await b.clock.pass(4_000)
    assert.deepEqual([b.pings.isSilent, b.silences], [true, 2])
    b.pings.close()
  })

  test('is not asked, and not silent, while it is not connected', async () => {
    const b = new Bench()
    b.connected = false
    await b.clock.pass(10_000)
    assert.deepEqual([b.ids, b.pings.isSilent], [[0], false])
    b.connected = true
    await b.clock.pass(1_000)
    assert.deepEqual(b.ids, [0, 1])
    b.pings.close()
  })
})

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type Fields, LogThrottle } from '../../agent/observe/log.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

function setUp() {
  const lines: [string, Fields][] = []
  const log = (msg: string, fields: Fields = {}) => lines.push([msg, fields])
  const clock = new VirtualClock()
  return { lines, clock, repeats: new LogThrottle({ warn: log, info: log }, clock) }
}

describe('a trouble that returns every two seconds', () => {
  it('is logged when it begins, once a minute with a count, and when it ends', async () => {
    const { lines, clock, repeats } = setUp()
    for (let second = 0; second <= 130; second += 2) {
      repeats.happened('api', 'the API server does not answer', { code: 'timeout' })
      await clock.pass(2000)
    }
    repeats.over('api', 'the API server answers again')
    assert.deepEqual(lines, [
      ['the API server does not answer', { code: 'timeout' }],
      ['the API server does not answer', { code: 'timeout', times: 30 }],
      ['the API server does not answer', { code: 'timeout', times: 30 }],
      ['the API server answers again', { times: 66, lasted: '2m12s' }],
    ])
  })

  it('is logged at once when it says something else, but not without end', () => {
    const { lines, repeats } = setUp()
    repeats.happened('api', 'refused')
    repeats.happened('api', 'timeout')
    repeats.happened('api', 'refused')
    assert.deepEqual(lines, [
      ['refused', {}],
      ['timeout', {}],
    ])
    for (let i = 0; i < 1000; i++) repeats.happened('api', `timeout after ${2000 + i} ms`)
    assert.equal(lines.length, 5)
  })

  it('begins anew once it was over, and is not mixed up with another', () => {
    const { lines, repeats } = setUp()
    repeats.happened('api', 'refused')
    repeats.happened('launcher', 'refused')
    repeats.over('api', 'fine')
    repeats.over('api', 'fine')
    repeats.happened('launcher', 'refused')
    repeats.happened('api', 'refused')
    assert.deepEqual(
      lines.map(([msg]) => msg),
      ['refused', 'refused', 'fine', 'refused'],
    )
  })
})

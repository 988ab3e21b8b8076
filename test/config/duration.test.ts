import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { formatDuration, parseDuration } from '../../agent/config/duration.ts'

describe('a duration', () => {
  const good: [string, number][] = [
    ['15s', 15_000],
    ['1m30s', 90_000],
    ['500ms', 500],
    ['1h', 3_600_000],
    ['1.5s', 1500],
    ['0.3s', 300],
    ['1m0.25s', 60_250],
    ['24h', 86_400_000],
    ['0', 0],
    ['0s', 0],
  ]
  for (const [text, ms] of good) {
    it(`reads ${text}`, () => assert.equal(parseDuration(text, 0), ms))
  }

  const bad: [string, RegExp][] = [
    ['15', /^a duration needs a unit, such as 15s or 15ms$/],
    ['1.5', /^a duration needs a unit, such as 1\.5s/],
    ['-5s', /^a duration cannot be negative; write it as 15s/],
    ['1.5x', /^write a duration with the units h, m, s and ms, such as 15s, 1m30s or 500ms$/],
    ['', /^write a duration/],
    ['s', /^write a duration/],
    [' 15s', /^write a duration/],
    ['15 s', /^write a duration/],
    ['15S', /^write a duration/],
    ['1d', /^write a duration/],
    ['1e3s', /^write a duration/],
    ['.5s', /^write a duration/],
    ['+5s', /^write a duration/],
    ['1s\n', /^write a duration/],
    ['Infinity', /^write a duration/],
    ['NaNs', /^write a duration/],
    [`${'9'.repeat(400)}s`, /^write a duration/],
    ['1.5ms', /^use whole milliseconds, such as 2ms$/],
    ['25h', /^use at most 24h$/],
    ['99999999999999999999h', /^use at most 24h$/],
  ]
  for (const [text, sentence] of bad) {
    it(`refuses ${JSON.stringify(text.slice(0, 24))}`, () => {
      assert.throws(() => parseDuration(text, 0), { message: sentence })
    })
  }

  it('names the least that is allowed', () => {
    assert.throws(() => parseDuration('0', 1), { message: 'use at least 1ms' })
    assert.throws(() => parseDuration('50ms', 100), { message: 'use at least 100ms' })
  })

  it('reads back whatever it writes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 86_400_000 }),
        (ms) => parseDuration(formatDuration(ms), 0) === ms,
      ),
    )
  })
})

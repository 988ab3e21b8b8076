import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { describeHeld, describeWaits, FrontsSeen } from '../../agent/cli/held-requests.ts'
import { FOLLOWING, fronted, SERVING, silent } from '../observe/replica.ts'
import { row } from './agents.ts'

const a = (front = {}) => row('a', fronted(SERVING, front))
const b = (front = {}) => row('b', fronted(FOLLOWING, front))

describe('what is seen at the fronts', () => {
  test('is nothing where no replica has one', () => {
    const seen = new FrontsSeen()
    assert.equal(seen.saw([row('a', SERVING), silent('b')]), false)
    assert.equal(seen.held, null)
  })

  test('is the most that waited at one look, at all fronts together, and the longest wait of any look', () => {
    const seen = new FrontsSeen()
    assert.equal(seen.saw([a({ held: 2, oldestHeldMs: 90 }), b({ held: 10, oldestHeldMs: 300 })]), true)
    seen.saw([a({ held: 1, oldestHeldMs: 800 }), silent('b')])
    seen.saw([a(), b()])
    assert.deepEqual(seen.held, { requests: 12, longestMs: 800 })
  })
})

test('in words', () => {
  assert.equal(describeHeld(null), '')
  assert.equal(describeHeld({ requests: 0, longestMs: 0 }), '')
  assert.equal(describeHeld({ requests: 12, longestMs: 812 }), 'held: 12, longest 0.8 s')
  assert.equal(describeWaits({ requests: 0, longestMs: 0 }), 'no request was seen to wait at the fronts')
  assert.equal(
    describeWaits({ requests: 1, longestMs: 812 }),
    '1 request was seen to wait at the fronts, for 0.8 s',
  )
})

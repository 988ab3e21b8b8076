import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BackOff } from './back-off.ts'

test('the imitated kubelet waits longer after each early end, never longer than 4 s, and forgets after a good while', () => {
  const backOff = new BackOff()
  assert.deepEqual(
    [0, 100, 14_999, 0, 0].map((ranMs) => backOff.after(ranMs)),
    [500, 1_000, 2_000, 4_000, 4_000],
  )
  assert.equal(backOff.after(15_000), 500)
  assert.equal(backOff.after(0), 1_000)
})

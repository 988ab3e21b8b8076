import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Garbage } from '../../agent/front/collect-garbage.ts'

test('what has passed is collected each 8 MiB', () => {
  let collected = 0
  const garbage = new Garbage(() => collected++)
  for (let i = 0; i < 3 * 128; i++) garbage.passed(64 * 1024)
  assert.equal(collected, 3)
})

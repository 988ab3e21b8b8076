import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Stillness } from './stillness.ts'

test('a launcher stands still from its freeze until it has had time to look at its clocks', () => {
  let now = 1_000
  const stillness = new Stillness(() => now)
  const over = stillness.begin('a-1')
  assert.equal(stillness.since('a-1', 999), undefined)
  assert.equal(stillness.since('a-1', 50_000), 1_000)
  assert.equal(stillness.since('b-1', 50_000), undefined)
  now = 60_000
  over()
  now = 90_000
  over()
  assert.equal(stillness.since('a-1', 60_400), 1_000)
  assert.equal(stillness.since('a-1', 60_401), undefined)
})

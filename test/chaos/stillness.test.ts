import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Stillness } from './stillness.ts'

test('a launcher stands still from its freeze until it has had time to look at its clocks', () => {
  let now = 1_000
  const stillness = new Stillness(() => now)
  const over = stillness.begin('a-1')
  assert.equal(stillness.at('a-1', 999), false)
  assert.equal(stillness.at('a-1', 50_000), true)
  assert.equal(stillness.at('b-1', 50_000), false)
  now = 60_000
  over()
  now = 90_000
  over()
  assert.equal(stillness.at('a-1', 61_000), true)
  assert.equal(stillness.at('a-1', 61_001), false)
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isOlder, isVersion } from '../agent/python-version.ts'

/** Versions in ascending order. */
const ORDER = [
  '0.7.1',
  '1.9.9',
  '1.12.8',
  '1.13.0.dev3',
  '1.13.0.dev12',
  '1.13.0a1.dev1',
  '1.13.0a1',
  '1.13.0b1',
  '1.13.0rc1',
  '1.13.0rc2',
  '1.13.0',
  '1.13.0.post1.dev1',
  '1.13.0.post1',
  '1.13.1',
  '2',
  '1!0.1',
]

describe('a version', () => {
  test('is older than exactly the versions that PEP 440 orders after it', () => {
    for (const [i, a] of ORDER.entries())
      for (const [j, b] of ORDER.entries()) assert.equal(isOlder(a, b), i < j, `${a} and ${b}`)
  })

  test('is equal to itself with trailing zeros or a local label', () => {
    for (const same of ['1.13', '1.13.0.0', '1.13.0+acme.1'])
      assert.deepEqual([isOlder(same, '1.13.0'), isOlder('1.13.0', same)], [false, false], same)
  })

  test('without a clear order is invalid, and neither older nor newer', () => {
    for (const text of ['', 'latest', '1.13.x', '1.13.0-acme', '1.13.0 ', `${'1.'.repeat(40)}1`]) {
      assert.equal(isVersion(text), false, text)
      assert.deepEqual([isOlder(text, '1.13.0'), isOlder('1.13.0', text)], [false, false], text)
    }
  })
})

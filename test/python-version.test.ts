import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isOlder, isVersion } from '../agent/python-version.ts'

/** Each older than all that follow. */
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
  test('is older than each that PEP 440 orders after it, and than no other', () => {
    for (const [i, a] of ORDER.entries())
      for (const [j, b] of ORDER.entries()) assert.equal(isOlder(a, b), i < j, `${a} and ${b}`)
  })

  test('is the same with zeros at its end, and with what a builder has added', () => {
    for (const same of ['1.13', '1.13.0.0', '1.13.0+acme.1'])
      assert.deepEqual([isOlder(same, '1.13.0'), isOlder('1.13.0', same)], [false, false], same)
  })

  test('is none where nobody can say what comes before it', () => {
    for (const text of ['', 'latest', '1.13.x', '1.13.0-acme', '1.13.0 ', `${'1.'.repeat(40)}1`]) {
      assert.equal(isVersion(text), false, text)
      assert.deepEqual([isOlder(text, '1.13.0'), isOlder('1.13.0', text)], [false, false], text)
    }
  })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findExecutable, splitWords } from '../../agent/config/words.ts'

for (const [text, words] of [
  ['langflow run --backend-only', ['langflow', 'run', '--backend-only']],
  ['  a\tb\n', ['a', 'b']],
  [`sh -c 'echo "$1"'`, ['sh', '-c', 'echo "$1"']],
  ['"two words"and\\ more', ['two wordsand more']],
  [String.raw`"a \"quote\" and \n"`, [String.raw`a "quote" and \n`]],
  [`a ''`, ['a', '']],
  ['', []],
] as const) {
  test(`words of ${JSON.stringify(text)}`, () => assert.deepEqual(splitWords(text), words))
}

for (const text of [`a 'b`, 'a "b', 'a\\']) {
  test(`no words of ${JSON.stringify(text)}`, () =>
    assert.throws(() => splitWords(text), /is not closed|nothing after it/))
}

test('a program is found in PATH, or by its path, if it may be executed', () => {
  assert.equal(findExecutable('sh', '/nowhere:/bin'), '/bin/sh')
  assert.equal(findExecutable('/bin/sh', ''), '/bin/sh')
  assert.equal(findExecutable('sh', '/nowhere'), null)
  assert.equal(findExecutable('/etc/passwd', ''), null)
  assert.equal(findExecutable('/bin', ''), null)
})

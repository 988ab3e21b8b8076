import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepingPart, partOf, withPart } from './page-part.ts'

test('a page without the part gets it at its end', () => {
  assert.equal(
    withPart('# Page\n\nText.\n', 'mine', 'new\n'),
    '# Page\n\nText.\n\n<!-- mine: begin -->\n\nnew\n\n<!-- mine: end -->\n',
  )
})

test('a page that is not there yet is the part alone', () => {
  assert.equal(withPart('', 'mine', 'new'), '<!-- mine: begin -->\n\nnew\n\n<!-- mine: end -->\n')
})

test('the part is replaced where it stands, and nothing else', () => {
  const page = `${withPart('before\n', 'mine', 'old')}\nafter\n`
  const again = withPart(page, 'mine', 'costs $& more')
  assert.match(again, /^before\n[\s\S]*costs \$& more[\s\S]*\nafter\n$/)
  assert.doesNotMatch(again, /old/)
})

test('a page that is written anew keeps the part of its predecessor', () => {
  const old = withPart('old text\n', 'mine', 'measured')
  const page = keepingPart('new text\n', old, 'mine')
  assert.equal(page, withPart('new text\n', 'mine', 'measured'))
  assert.equal(keepingPart('new text\n', 'no part', 'mine'), 'new text\n')
})

test('a part without its end is none', () => {
  assert.equal(partOf('<!-- mine: begin -->\ntext', 'mine'), undefined)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type FailedRevision,
  NO_REVISIONS,
  REVISIONS,
  type Revisions,
  revisionsOf,
  withFailed,
  withProven,
} from '../../agent/lease/revisions.ts'

const FAILED: FailedRevision = {
  revision: 'new',
  inputs: 'a1',
  because: 'workload_exited',
  reason: 'exit code 1',
}

function read(note: string | Revisions | undefined): Revisions {
  const text = typeof note === 'object' ? JSON.stringify(note) : note
  return revisionsOf({ metadata: { annotations: text === undefined ? {} : { [REVISIONS]: text } } })
}

test('revisions are read as they were written', () => {
  const known = withFailed(withProven(NO_REVISIONS, 'old'), FAILED)
  assert.deepEqual(known, { proven: ['old'], failed: FAILED })
  assert.deepEqual(read(known), known)
})

test('the revision that served last comes first, ten are kept, and one that serves has not failed', () => {
  const twelve = Array.from({ length: 12 }, (_, n) => `r${n}`).reduce(withProven, NO_REVISIONS)
  assert.deepEqual([twelve.proven[0], twelve.proven.length], ['r11', 10])
  const again = withProven(twelve, 'r5')
  assert.deepEqual([again.proven[0], again.proven.length], ['r5', 10])
  const failed = withFailed(again, FAILED)
  assert.deepEqual(withProven(failed, 'other').failed, FAILED)
  assert.equal(withProven(failed, 'new').failed, null)
})

test('the note stays small, whatever revisions and reasons look like', () => {
  const many = Array.from({ length: 12 }, (_, n) => `${n}`.padEnd(63, 'x')).reduce(withProven, NO_REVISIONS)
  const full = withFailed(many, { ...FAILED, reason: 'ü'.repeat(10_000) })
  assert.ok(Buffer.byteLength(JSON.stringify(full)) < 2_000)
  assert.deepEqual(read(full), full)
})

test('what cannot be read counts as not written, and keeps nothing else from being read', () => {
  for (const nonsense of [undefined, '', '{', '7', '[]', 'null', 'x'.repeat(10_000)])
    assert.deepEqual(read(nonsense), NO_REVISIONS, nonsense?.slice(0, 9))
  for (const failed of [
    7,
    'x',
    {},
    { ...FAILED, because: 'of a later version' },
    { ...FAILED, revision: '' },
  ])
    assert.deepEqual(read(JSON.stringify({ proven: ['old'], failed })), { proven: ['old'], failed: null })
  for (const proven of [7, ['x'.repeat(64)], [''], [7], Array(99).fill('x')])
    assert.deepEqual(read(JSON.stringify({ proven, failed: FAILED })), { proven: [], failed: FAILED })
})

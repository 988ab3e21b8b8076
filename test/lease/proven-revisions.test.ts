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
} from '../../agent/lease/proven-revisions.ts'

const FAILED: FailedRevision = {
  revision: 'new',
  inputs: 'a1',
  because: 'workload_exited',
  reason: 'exit code 1',
  attempts: 1,
}

const served = (revisions: Revisions, revision: string) => withProven(revisions, revision, null)

function read(note: string | Revisions | undefined): Revisions {
  const text = typeof note === 'object' ? JSON.stringify(note) : note
  return revisionsOf({ metadata: { annotations: text === undefined ? {} : { [REVISIONS]: text } } })
}

test('revisions are read as they were written', () => {
  const revisions = withFailed(withProven(NO_REVISIONS, 'old', '1.13.0'), FAILED)
  assert.deepEqual(revisions, { proven: ['old'], langflow: '1.13.0', failed: [FAILED] })
  assert.deepEqual(read(revisions), revisions)
})

test('the ten last proven revisions are kept, the latest first, and serving removes a revision’s failures', () => {
  const twelve = Array.from({ length: 12 }, (_, n) => `r${n}`).reduce(served, NO_REVISIONS)
  assert.deepEqual([twelve.proven[0], twelve.proven.length], ['r11', 10])
  const again = served(twelve, 'r5')
  assert.deepEqual([again.proven[0], again.proven.length], ['r5', 10])
  const failed = withFailed(again, FAILED)
  assert.deepEqual(served(failed, 'other').failed, [FAILED])
  assert.deepEqual(served(withFailed(failed, { ...FAILED, inputs: 'b2' }), 'new').failed, [])
})

test('the ten last failed first starts are kept by revision and inputs, the latest first', () => {
  const later = { ...FAILED, reason: 'later' }
  const [of, inputs] = [
    { ...FAILED, revision: 'third' },
    { ...FAILED, inputs: 'b2' },
  ]
  const { failed } = [FAILED, inputs, of, later].reduce(withFailed, NO_REVISIONS)
  assert.deepEqual(failed, [later, of, inputs])
  const twelve = Array.from({ length: 12 }, (_, n) => ({ ...FAILED, inputs: `i${n}` }))
  const ten = twelve.reduce(withFailed, NO_REVISIONS).failed.map(({ inputs }) => inputs)
  assert.deepEqual([ten.length, ten[0], ten.at(-1)], [10, 'i11', 'i2'])
})

test('the annotation stays small, even with long revisions and reasons', () => {
  const many = Array.from({ length: 12 }, (_, n) => `${n}`.padEnd(63, 'x')).reduce(served, NO_REVISIONS)
  const failures = Array.from({ length: 12 }, (_, n) => ({
    ...FAILED,
    inputs: `${n}`,
    reason: 'ü'.repeat(10_000),
  }))
  const full = failures.reduce(withFailed, withProven(many, 'last', '1'.repeat(10_000)))
  assert.ok(Buffer.byteLength(JSON.stringify(full)) < 8_000)
  assert.deepEqual(read(full), full)
})

test('an invalid part counts as missing, and the other parts are still read', () => {
  for (const nonsense of [undefined, '', '{', '7', '[]', 'null', 'x'.repeat(10_000)])
    assert.deepEqual(read(nonsense), NO_REVISIONS, nonsense?.slice(0, 9))
  const whole: Revisions = { proven: ['old'], langflow: '1.13.0', failed: [FAILED] }
  for (const failed of [
    7,
    'x',
    {},
    FAILED,
    Array(99).fill(FAILED),
    [{ ...FAILED, because: 'of a later version' }],
    [{ ...FAILED, revision: '' }],
  ])
    assert.deepEqual(read(JSON.stringify({ ...whole, failed })), { ...whole, failed: [] })
  for (const proven of [7, ['x'.repeat(64)], [''], [7], Array(99).fill('x')])
    assert.deepEqual(read(JSON.stringify({ ...whole, proven })), { ...whole, proven: [] })
  for (const langflow of [7, {}, 'x'.repeat(65)])
    assert.deepEqual(read(JSON.stringify({ ...whole, langflow })), { ...whole, langflow: null })
})

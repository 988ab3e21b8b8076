import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { overviewFrom } from '../../agent/operate/overview.ts'
import { readRows, readStatus } from '../../agent/operate/read-status.ts'
import { statusTable } from '../../agent/operate/status.ts'
import { FOLLOWING, SERVING } from '../observe/replica.ts'

const LEAST = { identity: 'a_1', role: 'follower', lease: { namespace: 'team', name: 'lock' } }

describe("an agent's status", () => {
  test('is read as it is', () => {
    for (const status of [SERVING, FOLLOWING]) assert.deepEqual(readStatus(structuredClone(status)), status)
  })

  test('of a newer version keeps what is not known here', () => {
    const newer = { ...SERVING, later: 1, lease: { ...SERVING.lease, shard: 2 } }
    assert.deepEqual(readStatus(newer), newer)
  })

  test('of an older version has unknown what it does not tell', () => {
    const { unable, timings, pause, switchover, history, flowsDigest, secretKeyDigest, lastDrill, ...older } =
      SERVING
    assert.deepEqual(readStatus(older), SERVING)
    const least = readStatus(LEAST)
    assert.deepEqual([least?.couldTakeOver, least?.unable, least?.history], [false, null, []])
  })

  test('is none without who it is, what it is and what it competes for', () => {
    for (const value of [
      null,
      [],
      'ok',
      {},
      { ...LEAST, identity: 1 },
      { ...LEAST, role: 'x' },
      { ...LEAST, lease: {} },
    ])
      assert.equal(readStatus(value), null)
  })

  test('can be shown whatever else it tells', () => {
    const fields = fc.record(
      Object.fromEntries(
        Object.keys(SERVING)
          .filter((key) => !(key in LEAST))
          .map((key) => [key, fc.anything()]),
      ),
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fields, (told) => {
        const rows = readRows([{ pod: 'a', node: null, status: { ...told, ...LEAST }, problem: null }])
        const overview = overviewFrom(rows ?? [])
        assert.ok(overview)
        assert.match(statusTable(overview, 0), /^a /m)
      }),
    )
  })
})

test('rows that a replica tells are read, with a reason where one has no status', () => {
  const row = { pod: 'a', node: null, status: null, problem: 'connection refused' }
  assert.deepEqual(readRows([row, { ...row, problem: null }]), [
    row,
    { ...row, problem: 'it answers with something that is no status of an agent' },
  ])
  assert.equal(readRows({ error: 'x' }), null)
})

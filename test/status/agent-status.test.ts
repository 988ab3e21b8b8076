import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { statusOf } from '../../agent/status/agent-status.ts'
import { FOLLOWING, FRONT, SERVING } from '../observe/replica.ts'

describe("another replica's status", () => {
  test('is accepted unchanged', () => {
    const fronted = { ...SERVING, traffic: { ...SERVING.traffic, front: FRONT } }
    for (const status of [SERVING, FOLLOWING, fronted])
      assert.deepEqual(statusOf(structuredClone(status)), status)
  })

  test('of a newer version keeps its unknown fields and words', () => {
    const lease = { ...SERVING.lease, shard: 2, watch: 'polling' }
    const lastDrill = { at: SERVING.now, result: 'ended early' }
    const newer = { ...SERVING, later: 1, lease, lastDrill }
    assert.deepEqual(statusOf(newer), newer)
  })

  test('is invalid without its identity, role and Lease', () => {
    const wrong = [null, [], 'ok', {}, { ...SERVING, identity: 1 }, { ...SERVING, role: 'x' }]
    for (const value of [...wrong, { ...SERVING, lease: {} }]) assert.equal(statusOf(value), null)
  })
})

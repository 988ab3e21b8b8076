import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { statusOf } from '../../agent/observe/agent-status.ts'
import { FOLLOWING, FRONT, SERVING } from './replica.ts'

describe("another replica's status", () => {
  test('is read as it is', () => {
    const fronted = { ...SERVING, traffic: { ...SERVING.traffic, front: FRONT } }
    for (const status of [SERVING, FOLLOWING, fronted])
      assert.deepEqual(statusOf(structuredClone(status)), status)
  })

  test('of a newer version keeps what is not known here', () => {
    const newer = { ...SERVING, later: 1, lease: { ...SERVING.lease, shard: 2 } }
    assert.deepEqual(statusOf(newer), newer)
  })

  test('of an older version has nothing where that one tells nothing', () => {
    const { unable, timings, pause, switchover, history, flowsDigest, secretKeyDigest, lastDrill, ...older } =
      SERVING
    const { front, ...traffic } = SERVING.traffic
    assert.deepEqual({ pause, switchover, ...statusOf({ ...older, traffic }) }, SERVING)
    // So that whoever asks such a one to pause is told that it cannot.
    assert.equal(statusOf(older)?.pause, undefined)
  })

  test('is none without who it is, what it is and what it competes for', () => {
    const wrong = [null, [], 'ok', {}, { ...SERVING, identity: 1 }, { ...SERVING, role: 'x' }]
    for (const value of [...wrong, { ...SERVING, lease: {} }]) assert.equal(statusOf(value), null)
  })
})

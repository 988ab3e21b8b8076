import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Answer, LeaseHistory, wrongAnswers } from './lease-history.ts'
import { shortcomings } from './rollout-table.ts'

const answer = (replica: string, epoch: number, mono: number): Answer => ({ replica, epoch, pid: 1, mono })

test('an answer is wrong from one who does not hold the Lease in its epoch, and after a later epoch has answered', () => {
  const terms = new Map([
    [1, 'a'],
    [2, 'b'],
  ])
  assert.deepEqual(wrongAnswers([answer('a', 1, 0), answer('b', 2, 10)], terms), [])
  assert.match(wrongAnswers([answer('b', 1, 0)], terms).join(), /which was of a/)
  assert.match(wrongAnswers([answer('b', 2, 0), answer('a', 1, 10)], terms).join(), /after epoch 2/)
  // Not yet told of by the watch.
  assert.deepEqual(wrongAnswers([answer('c', 3, 0)], terms), [])
})

test('a history of the Lease notices two holders in one epoch', () => {
  const history = new LeaseHistory()
  for (const [holderIdentity, leaseTransitions] of [
    ['a', 1],
    ['', 1],
    ['b', 2],
    ['c', 2],
  ] as const)
    history.hear({ type: 'MODIFIED', object: { spec: { holderIdentity, leaseTransitions } } })
  assert.deepEqual(history.contradictions, ['epoch 2 is of b and of c'])
})

test('old pods, a second handover and whatever must never be are shortcomings of a rollout', () => {
  const rollout = { allNewMs: 10_900, handovers: 1, statusMs: null, awayMs: 2_500, failed: 48, calls: 200 }
  const good = { ...rollout, overlapMs: 0, violations: [] }
  const poor = { ...good, allNewMs: null, handovers: 2, violations: ['two acted at once for 3 ms'] }
  assert.deepEqual(shortcomings({ traffic: 'readiness', kind: 'Deployment', replicas: 2 }, good), [])
  assert.equal(shortcomings({ traffic: 'label', kind: 'Deployment', replicas: 2 }, good).length, 1)
  assert.equal(shortcomings({ traffic: 'readiness', kind: 'StatefulSet', replicas: 3 }, poor).length, 3)
})

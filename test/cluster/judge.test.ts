import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Answer, LeaseHistory, wrongAnswers } from './lease-history.ts'

const answer = (replica: string, epoch: number, mono: number): Answer => ({ replica, epoch, pid: 1, mono })

test("an answer is wrong if its replica doesn't hold the Lease in its epoch, or if a later epoch has already answered", () => {
  const history = new LeaseHistory()
  for (const [holderIdentity, leaseTransitions] of [
    ['a', 1],
    ['', 1],
    ['b', 2],
  ] as const)
    history.record({ spec: { holderIdentity, leaseTransitions } })
  const wrong = (...answers: Answer[]) => wrongAnswers(answers, history.terms).join()
  assert.equal(wrong(answer('a', 1, 0), answer('b', 2, 10)), '')
  assert.match(wrong(answer('b', 1, 0)), /which a held/)
  assert.match(wrong(answer('b', 2, 0), answer('a', 1, 10)), /after epoch 2/)
  // The watch has not reported epoch 3 yet.
  assert.equal(wrong(answer('c', 3, 0)), '')
  assert.deepEqual(history.contradictions, [])
  history.record({ spec: { holderIdentity: 'c', leaseTransitions: 2 } })
  assert.deepEqual(history.contradictions, ['epoch 2 has two holders: b and c'])
})

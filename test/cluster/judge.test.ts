import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Answer, LeaseHistory, wrongAnswers } from './lease-history.ts'

const answer = (replica: string, epoch: number, mono: number): Answer => ({ replica, epoch, pid: 1, mono })

test('an answer is wrong from one who does not hold the Lease in its epoch, and after a later epoch has answered', () => {
  const history = new LeaseHistory()
  for (const [holderIdentity, leaseTransitions] of [
    ['a', 1],
    ['', 1],
    ['b', 2],
  ] as const)
    history.hear({ spec: { holderIdentity, leaseTransitions } })
  const wrong = (...answers: Answer[]) => wrongAnswers(answers, history.terms).join()
  assert.equal(wrong(answer('a', 1, 0), answer('b', 2, 10)), '')
  assert.match(wrong(answer('b', 1, 0)), /which was of a/)
  assert.match(wrong(answer('b', 2, 0), answer('a', 1, 10)), /after epoch 2/)
  // Not yet told of by the watch.
  assert.equal(wrong(answer('c', 3, 0)), '')
  assert.deepEqual(history.contradictions, [])
  history.hear({ spec: { holderIdentity: 'c', leaseTransitions: 2 } })
  assert.deepEqual(history.contradictions, ['epoch 2 is of b and of c'])
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { epochOf, type Lease, ownerProblem } from '../../agent/lease/lease.ts'
import { holderServes } from '../../agent/lease/lease-history.ts'
import { leaseAt } from '../kube/scripted-server.ts'
import { TERM } from '../observe/replica.ts'

function noted(annotations: Record<string, string>, leaseTransitions: unknown = 3): Lease {
  const { metadata, spec = {} } = leaseAt('10')
  return {
    metadata: { ...metadata, annotations },
    spec: { ...spec, leaseTransitions: leaseTransitions as number },
  }
}

test('the epoch is leaseTransitions, and an impossible one counts as 0', () => {
  const edited: unknown[] = [7, null, -1, 1.5, '7', 1e300, 2 ** 31 - 1]
  assert.deepEqual(
    edited.map((epoch) => epochOf(noted({}, epoch))),
    [7, 0, 0, 0, 0, 0, 0],
  )
  assert.equal(epochOf({ metadata: {}, spec: {} }), 0)
})

test('the holder serves if the latest term in the history has its epoch and its time to healthy', () => {
  const lease = noted({}, TERM.epoch)
  const starting = { ...TERM, phases: { ...TERM.phases, healthyMs: null } }
  const free = { ...lease, spec: { ...lease.spec, holderIdentity: '' } }
  assert.deepEqual(
    [
      holderServes(lease, [TERM, starting]),
      holderServes(lease, [starting, TERM]),
      holderServes(lease, [{ ...TERM, epoch: TERM.epoch - 1 }]),
      holderServes(lease, []),
      holderServes(free, [TERM]),
      holderServes(null, [TERM]),
    ],
    [true, false, false, false, false, false],
  )
})

test('a Lease of another Deployment is reported, unless one of the two is unknown', () => {
  const theirs = noted({ 'langflow-leader/owner': 'Deployment/theirs' })
  assert.match(ownerProblem('Deployment/mine', theirs) ?? '', /Deployment\/theirs/)
  for (const [own, lease] of [
    ['Deployment/theirs', theirs],
    [null, theirs],
    ['x', null],
  ] as const)
    assert.equal(ownerProblem(own, lease), null)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { epochOf, epochProblem, type Lease, langflowFault, ownerProblem } from '../../agent/lease/lease.ts'
import { holderServes } from '../../agent/lease/lease-history.ts'
import { leaseAt } from '../kube/scripted-server.ts'
import { TERM } from '../observe/replica.ts'

const EPOCH = 'langflow-leader/epoch'
const LARGEST = 2 ** 31 - 1

function noted(annotations: Record<string, string>, leaseTransitions: unknown = 3): Lease {
  const { metadata, spec = {} } = leaseAt('10')
  return {
    metadata: { ...metadata, annotations },
    spec: { ...spec, leaseTransitions: leaseTransitions as number },
  }
}

test('the epoch is leaseTransitions, or the annotation’s if leaseTransitions has its largest value', () => {
  const of = (leaseTransitions: unknown, said?: string) =>
    epochOf(noted(said === undefined ? {} : { [EPOCH]: said }, leaseTransitions))
  assert.deepEqual(
    [7, null, -1, 1.5, '7', 1e300].map((said) => of(said)),
    [7, 0, 0, 0, 0, 0],
  )
  assert.equal(epochOf({ metadata: {}, spec: {} }), 0)
  assert.deepEqual([of(7, '3000000000'), of(LARGEST, '3000000000')], [7, 3_000_000_000])
  for (const said of ['7', '-1', 'x', '', '99999999999999999999', '3e9'])
    assert.equal(of(LARGEST, said), LARGEST)
  assert.equal(of(2 ** 40), LARGEST)
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

const THEIRS = noted({ 'langflow-leader/owner': 'Deployment/theirs' })
const NONE = noted({})
const PROBLEMS: [what: string, told: string | null, problem: RegExp][] = [
  [
    'of another Deployment',
    ownerProblem('Deployment/mine', THEIRS),
    /"lock" belongs to Deployment\/theirs.*Deployment\/mine: .*--lease-name/,
  ],
  [
    'whose epoch exceeds leaseTransitions',
    epochProblem(noted({}, LARGEST)),
    /^leaseTransitions of the Lease "lock" has reached its limit \(2147483647\)/,
  ],
  [
    'with an invalid version of LangFlow',
    langflowFault(noted({ 'langflow-leader/langflow-version': 'latest' })),
    /langflow-version of the Lease "lock" is "latest"/,
  ],
]
for (const [what, told, problem] of PROBLEMS)
  test(`a Lease ${what} is reported in one sentence`, () => assert.match(told ?? '', problem))

test('a valid or absent Lease is not reported as a problem', () => {
  const version = noted({ 'langflow-leader/langflow-version': '1.13.0' })
  const none = [
    ...[ownerProblem('Deployment/theirs', THEIRS), ownerProblem(null, THEIRS), ownerProblem('x', null)],
    ...[epochProblem(NONE), epochProblem(null)],
    ...[langflowFault(null), langflowFault(NONE), langflowFault(version)],
  ]
  assert.deepEqual(none, Array(8).fill(null))
})

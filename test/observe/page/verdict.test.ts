import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ReplicaRow } from '../../../agent/observe/agent-status.ts'
import { verdictOf } from '../../../agent/observe/page/page.ts'
import { SERVING, silent } from '../replica.ts'
import { follows, leads } from './replicas.ts'

const CLOSED = { ...SERVING.traffic, gate: 'closed' } as const
const OPEN_LEASE = { ...SERVING.lease, holder: '', self: false }
const inLeadership = (more: object) => ({ leadership: { ...SERVING.leadership, ...more } })
const [A, B, C] = ['langflow-0', 'langflow-1', 'langflow-2'] as const

const CASES: [level: string, sentence: string, rows: ReplicaRow[]][] = [
  ['good', `${A} leads; ${B} could take over`, [leads(A), follows(B)]],
  ['good', `${A} leads; ${B} and ${C} could take over`, [follows(B), leads(A), follows(C)]],
  [
    'warning',
    `${A} leads; nobody could take over`,
    [leads(A), follows(B, { couldTakeOver: false }), silent(C)],
  ],
  ['warning', `${A} leads; no other replica is known here`, [leads(A)]],
  [
    'warning',
    `${A} leads and is starting LangFlow; ${B} could take over`,
    [leads(A, { traffic: CLOSED, workload: { ...SERVING.workload, servedSince: null } }), follows(B)],
  ],
  [
    'warning',
    `${A} leads and does not serve; ${B} could take over`,
    [leads(A, { traffic: CLOSED }), follows(B)],
  ],
  [
    'warning',
    `${A} is stepping down; ${B} could take over`,
    [leads(A, inLeadership({ steppingDown: 'SIGTERM' })), follows(B)],
  ],
  [
    'bad',
    `${A} is in doubt whether it leads; ${B} could take over`,
    [leads(A, inLeadership({ doubt: true })), follows(B)],
  ],
  [
    'warning',
    `${A} leads; takeovers are paused`,
    [follows(B), leads(A, { pause: { until: null, reason: null } })],
  ],
  ['bad', `${A} and ${B} both say that they lead`, [leads(A), leads(B), follows(C)]],
  ['bad', `Nobody leads; ${B} could take over`, [follows(B, { lease: OPEN_LEASE }), silent(C)]],
  ['warning', `${A} holds the Lease; ${B} could take over`, [follows(B)]],
  ['warning', `${A} holds the Lease; ${B} could take over`, [follows(B), silent(A)]],
]

describe('what all replicas come to', () => {
  for (const [level, sentence, rows] of CASES) {
    it(`is ${level}: ${sentence}`, () => {
      const verdict = verdictOf(rows)
      assert.deepEqual([verdict.level, verdict.sentence], [level, sentence])
    })
  }
})

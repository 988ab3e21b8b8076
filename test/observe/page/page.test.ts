import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it, test } from 'node:test'
import { Script } from 'node:vm'
import { PAGE, PAGE_POLICY } from '../../../agent/observe/page/page.ts'
import { LIBRARY } from '../../../agent/observe/page/page-script.ts'
import { verdictOf } from '../../../agent/observe/page/verdict.ts'
import type { ReplicaRow } from '../../../agent/status/agent-status.ts'
import { SERVING, silent } from '../replica.ts'
import { follows, leads } from './replicas.ts'

test('the page has one style sheet and one script, and its policy permits these and requests to this replica', () => {
  const [style, script] = ['style', 'script'].map((name) => {
    const text = new RegExp(`<${name}>([\\s\\S]*)</${name}>`).exec(PAGE)?.[1] ?? ''
    assert.doesNotThrow(() => name === 'style' || new Script(text))
    return `${name}-src 'sha256-${createHash('sha256').update(text).digest('base64')}'`
  })
  assert.equal(
    PAGE_POLICY,
    `default-src 'none'; ${script}; ${style}; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  )
  assert.doesNotMatch(PAGE, /<link|<img|<form|javascript:| style=| src=|url\(|@import|innerHTML/i)
})

const CLOSED = { ...SERVING.traffic, gate: 'closed' } as const
const OPEN_LEASE = { ...SERVING.lease, holder: '', self: false }
const inLeadership = (more: object) => ({ leadership: { ...SERVING.leadership, ...more } })
const [A, B, C] = ['langflow-0', 'langflow-1', 'langflow-2'] as const

const CASES: [level: string, sentence: string, rows: ReplicaRow[]][] = [
  ['good', `${A} leads; ${B} can take over`, [leads(A), follows(B)]],
  ['good', `${A} leads; ${B} and ${C} can take over`, [follows(B), leads(A), follows(C)]],
  [
    'warning',
    `${A} leads; no other replica can take over`,
    [leads(A), follows(B, { couldTakeOver: false }), silent(C)],
  ],
  ['warning', `${A} leads; there is no second replica to take over`, [leads(A)]],
  [
    'warning',
    `${A} leads and is starting LangFlow; ${B} can take over`,
    [leads(A, { traffic: CLOSED, workload: { ...SERVING.workload, servedSince: null } }), follows(B)],
  ],
  [
    'warning',
    `${A} leads and does not serve; ${B} can take over`,
    [leads(A, { traffic: CLOSED }), follows(B)],
  ],
  [
    'warning',
    `${A} is stepping down; ${B} can take over`,
    [leads(A, inLeadership({ steppingDown: 'SIGTERM' })), follows(B)],
  ],
  [
    'bad',
    `${A} may have lost the Lease; ${B} can take over`,
    [leads(A, inLeadership({ doubt: true })), follows(B)],
  ],
  [
    'warning',
    `${A} leads; takeovers are paused`,
    [follows(B), leads(A, { pause: { until: null, reason: null } })],
  ],
  ['bad', `2 replicas report that they lead: ${A} and ${B}`, [leads(A), leads(B), follows(C)]],
  ['bad', `No replica leads; ${B} can take over`, [follows(B, { lease: OPEN_LEASE }), silent(C)]],
  ['warning', `${A} holds the Lease; ${B} can take over`, [follows(B)]],
  ['warning', `${A} holds the Lease; ${B} can take over`, [follows(B), silent(A)]],
]

describe('the verdict on all replicas', () => {
  for (const [level, sentence, rows] of CASES) {
    it(`is ${level}: ${sentence}`, () => {
      const verdict = verdictOf(rows, LIBRARY)
      assert.deepEqual([verdict.level, verdict.sentence], [level, sentence])
    })
  }
})

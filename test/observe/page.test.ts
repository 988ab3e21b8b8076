import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { PAGE_POLICY, pageOf, verdictOf } from '../../agent/observe/page.ts'
import type { ReplicaRow } from '../../agent/status/agent-status.ts'
import { follows, leads } from '../cli/agents.ts'
import { SERVING, silent } from './replica.ts'

test('the page has one style sheet, which is all that its policy permits', () => {
  const page = pageOf([leads('langflow-0')])
  const [, style = ''] = /<style>([\s\S]*)<\/style>/.exec(page) ?? []
  assert.equal(
    PAGE_POLICY,
    `default-src 'none'; style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; ` +
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  )
  assert.doesNotMatch(page, /<link|<img|<form|<script|javascript:| style=| src=|url\(|@import/i)
})

test('the page shows names and reasons as text, without secrets and invisible characters', () => {
  const hostile = `</style><img src=x onerror=hit()>"' autofocus x='\u202e Bearer abc.def`
  const shown =
    '&#60;/style&#62;&#60;img src=x onerror=hit()&#62;&#34;&#39; autofocus x=&#39;\ufffd Bearer [redacted]'
  const pause = { until: hostile, reason: null }
  const silent = { pod: hostile, node: null, status: null, problem: hostile }
  const leadership = { ...SERVING.leadership, planned: { reason: hostile, leftMs: 1 } }
  const page = pageOf([leads(hostile, { pause, problem: hostile, leadership }), silent])
  assert.equal(page.split(shown).length - 1, 9)
  assert.doesNotMatch(page, /<img|abc\.def/)
})

const CLOSED = { ...SERVING.traffic, gate: 'closed' } as const
const DOUBT = { leadership: { ...SERVING.leadership, doubt: true } }
const [A, B, C] = ['langflow-0', 'langflow-1', 'langflow-2'] as const

const CASES: [level: string, leads: string, follow: string, rows: ReplicaRow[]][] = [
  ['good', A, B, [leads(A), follows(B)]],
  ['good', A, `${B} and ${C}`, [follows(B), leads(A), follows(C)]],
  ['warning', A, 'no replica', [leads(A), follows(B, { couldTakeOver: false }), silent(C)]],
  ['warning', A, B, [leads(A, { traffic: CLOSED }), follows(B)]],
  ['warning', A, B, [follows(B), leads(A, { pause: { until: null, reason: null } })]],
  ['bad', A, B, [leads(A, DOUBT), follows(B)]],
  ['bad', `${A} and ${B}`, C, [leads(A), leads(B), follows(C)]],
  ['bad', 'no replica', B, [follows(B), silent(C)]],
]

test('the verdict is good only if one replica serves and another one could take over', () => {
  for (const [level, leads, follow, rows] of CASES) {
    const verdict = verdictOf(rows)
    const sentence = `Leader: ${leads}. Can take over: ${follow}.`
    assert.deepEqual([verdict.level, verdict.sentence], [level, sentence])
  }
})

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { Script } from 'node:vm'
import { PAGE, PAGE_POLICY } from '../../../agent/observe/page/page.ts'
import { LIBRARY, verdictOf } from '../../../agent/observe/page/page-script.ts'
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
    const verdict = verdictOf(rows, LIBRARY.listed)
    const sentence = `Leader: ${leads}. Can take over: ${follow}.`
    assert.deepEqual([verdict.level, verdict.sentence], [level, sentence])
  }
})

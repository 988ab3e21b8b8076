import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import type { Result } from '../../../agent/cli/check/check.ts'
import { report, summaryOf } from '../../../agent/cli/check/check-report.ts'

const result = (code: string, outcome: Result['outcome'], ...findings: Result['findings']): Result => ({
  code,
  group: code.startsWith('api') ? 'Kubernetes' : 'Pods',
  about: `${code} is fine`,
  outcome,
  findings,
  details: code === 'api-latency' ? ['4 ms'] : [],
})
const error = { outcome: 'error', object: 'Deployment/app', message: 'it is not: change\nit' } as const
const warning = { outcome: 'warning', object: null, message: 'it may not be' } as const
const unknown = { outcome: 'unknown', object: null, message: 'nobody may look' } as const
const RESULTS = [
  result('api-latency', 'ok'),
  result('pod-a', 'error', error, warning),
  result('pod-b', 'unknown', unknown),
]

describe('the report', () => {
  test('for people has a mark for each rule, followed by its findings and its code', () => {
    assert.equal(
      report(RESULTS, summaryOf(RESULTS, 'error'), 'table'),
      `Kubernetes
----------
√ api-latency is fine (4 ms)

Pods
----
× pod-a is fine
    Deployment/app: it is not: change\\u000ait
    ‼ it may not be
    code: pod-a
? pod-b is fine
    nobody may look
    code: pod-b

× 1 error, 1 warning, 1 unknown
`,
    )
  })

  test('in short has one line for each finding', () => {
    assert.equal(
      report(RESULTS, summaryOf(RESULTS, 'unknown'), 'short'),
      `× Deployment/app: it is not: change\\u000ait (pod-a)
‼ it may not be (pod-a)
? nobody may look (pod-b)
× 1 error, 1 warning, 1 unknown
`,
    )
  })

  test('for programs has the same content', () => {
    const summary = { ok: false, errors: 1, warnings: 1, unknown: 1 }
    const whole = { ...summary, checks: RESULTS }
    assert.deepEqual(JSON.parse(report(RESULTS, summary, 'json')), whole)
    assert.deepEqual(parse(report(RESULTS, summary, 'yaml')), whole)
  })

  test('is ok if no finding is as severe as --fail-on', () => {
    const levels = ['error', 'warning', 'unknown'] as const
    const ok = (results: Result[]) => levels.map((failOn) => summaryOf(results, failOn).ok)
    assert.deepEqual(ok([result('pod-c', 'ok')]), [true, true, true])
    assert.deepEqual(ok([result('pod-c', 'unknown', unknown)]), [true, true, false])
    assert.deepEqual(ok([result('pod-c', 'warning', warning)]), [true, false, false])
    assert.deepEqual(ok([result('pod-c', 'error', error)]), [false, false, false])
  })
})

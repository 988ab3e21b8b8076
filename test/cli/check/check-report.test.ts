import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import type { Finding, Verdict } from '../../../agent/cli/check/check.ts'
import { passes, report } from '../../../agent/cli/check/check-report.ts'

const finding = (code: string, severity: Finding['severity'], object: string | null): Finding => ({
  ...{ code, severity, object },
  message: 'it is\nwrong',
  fix: `Change ${code}.`,
})
const NONE: Verdict = { findings: [], unknown: [], ignored: 0, validated: true }
const ALL: Verdict = {
  findings: [
    finding('a', 'error', 'Deployment/app'),
    finding('a', 'warning', 'Service/app'),
    finding('b', 'error', null),
  ],
  unknown: [
    { cause: 'Secret/x is not in the input', codes: ['c', 'd'] },
    { cause: 'forbidden', codes: ['c', 'd', 'e', 'f', 'g'] },
  ],
  ignored: 1,
  validated: false,
}

describe('the report', () => {
  test('for people has one line for each finding and each cause, and the fix of each rule', () => {
    assert.equal(
      report(ALL, false, 'table'),
      `× Deployment/app: it is\\u000awrong [a]
‼ Service/app: it is\\u000awrong [a]
  Change a.
× it is\\u000awrong [b]
  Change b.
? Secret/x is not in the input: 2 rules not judged (c, d)
? forbidden: 5 rules not judged
× 2 errors, 1 warning, 1 ignored
`,
    )
    assert.equal(report(NONE, true, 'table'), '√ 0 errors, 0 warnings\n')
  })

  test('for programs has the same content', () => {
    assert.deepEqual(JSON.parse(report(ALL, false, 'json')), { ok: false, ...ALL })
    assert.deepEqual(parse(report(ALL, false, 'yaml')), { ok: false, ...ALL })
  })

  test('passes if no finding is as severe as --fail-on', () => {
    const unknown = { ...NONE, unknown: ALL.unknown }
    const warning = { ...NONE, findings: [finding('a', 'warning', null)] }
    const levels = ['error', 'warning', 'unknown'] as const
    assert.deepEqual(
      [NONE, unknown, warning, ALL].map((verdict) => levels.map((level) => passes(verdict, level))),
      [
        [true, true, true],
        [true, true, false],
        [true, false, false],
        [false, false, false],
      ],
    )
  })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { describeReport, exceeded, type Report } from '../../../agent/cli/drill/drill.ts'
import { textOf } from '../../../agent/cli/output.ts'

const REPORT: Report = {
  scenario: 'switchover',
  result: 'ok',
  problem: null,
  from: 'langflow-0',
  to: 'langflow-1',
  measured: { requests: 50, failed: 2, firstProblem: 'status 503', rtoMs: 900, lost: 0 },
  wellAgainMs: 4_500,
}

describe('the verdict', () => {
  const cases: [rtoMs: number | null, lost: number | null, problem: RegExp][] = [
    [1_000, 0, /^null$/],
    [1_001, null, /^no user was served for 1s, longer than --rto$/],
    [500, 1, /messages are missing: 1$/],
    [2_000, 2, /no user was served .* missing: 2/],
    [null, 0, /no good answer/],
  ]
  for (const [rtoMs, lost, problem] of cases)
    test(`of RTO ${rtoMs} ms and ${lost} lost messages is ${problem}`, () =>
      assert.match(String(exceeded({ rtoMs, lost }, 1_000)), problem))
})

test('the report for people has a line for each fact', () => {
  assert.equal(
    textOf(describeReport(REPORT)),
    `scenario:         switchover
result:           passed
leader:           langflow-0, then langflow-1
RTO:              900ms
RPO:              0 messages
failed requests:  2 of 50 (the first: status 503)
recovered after:  4.5s
`,
  )
})

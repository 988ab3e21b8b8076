import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { judge, type Report, textOf } from '../../../agent/cli/drill/drill-report.ts'
import { TERM } from '../../observe/replica.ts'

const REPORT: Report = {
  namespace: 'team',
  lease: 'langflow-leader-lock',
  ended: '2026-01-02T03:04:12.000Z',
  scenario: 'switchover',
  result: 'ok',
  problem: null,
  did: 'requested a handover from langflow-0',
  from: 'langflow-0',
  to: 'langflow-1',
  rtoLimitMs: 30_000,
  measured: {
    requests: 50,
    failed: 2,
    problems: [{ problem: 'status 503', times: 2 }],
    longestWaitMs: 310,
    rtoMs: 900,
    lost: 0,
  },
  state: { variable: 'kept', upload: 'not measured: POST http://langflow/api/v2/files/: status 403' },
  wellAgainMs: 4_500,
  terms: [{ ...TERM, epoch: 8, holder: 'langflow-1', because: 'released' }],
}

describe('the verdict', () => {
  const cases: [rtoMs: number | null, lost: number | null, problem: RegExp][] = [
    [1_000, 0, /^null$/],
    [1_001, null, /^no user was served for 1\.0 s, longer than the allowed 1\.0 s$/],
    [500, 1, /messages are missing: 1$/],
    [2_000, 2, /no user was served .* missing: 2/],
    [null, 0, /no good answer/],
  ]
  for (const [rtoMs, lost, problem] of cases)
    test(`of RTO ${rtoMs} ms and ${lost} lost messages is ${problem}`, () =>
      assert.match(String(judge({ rtoMs, lost, failed: 1, state: null }, 1_000, false)), problem))

  test('is missed if requests failed that fronts should have held', () => {
    const judged = (failed: number) => judge({ rtoMs: 500, lost: 0, failed, state: null }, 1_000, true)
    assert.equal(judged(0), null)
    assert.match(judged(2) ?? '', /requests failed: 2/)
  })
})

test('a kind of state that was not measured is no loss', () => {
  const { measured, state } = REPORT
  assert.equal(judge({ ...measured, state }, 1_000, false), null)
})

test('without a user of LangFlow, the report has no claim about its state', () => {
  const text = textOf({ ...REPORT, measured: { ...REPORT.measured, lost: null }, state: null })
  for (const name of ['RPO', 'variable', 'upload'])
    assert.match(text, new RegExp(`^${name}: +not measured$`, 'm'))
})

test('the report has a line for each fact, and the same table of terms as history', () => {
  const text = textOf(REPORT)
  for (const line of [
    'Drill of team/langflow-leader-lock: switchover, 2026-01-02T03:04:12.000Z',
    'result:           passed',
    'done:             requested a handover from langflow-0',
    'RTO:              900 ms (allowed: 30.0 s)',
    'RPO:              0 messages',
    'variable:         kept',
    'upload:           not measured: POST http://langflow/api/v2/files/: status 403',
    'failed requests:  2 of 50 (2 × status 503)',
    'longest wait:     310 ms',
    'recovered after:  4.5 s',
  ])
    assert.ok(text.split('\n').includes(line), `${line}\n${text}`)
  assert.match(text, /\nEPOCH +HOLDER .*\n8 +langflow-1 /)
})

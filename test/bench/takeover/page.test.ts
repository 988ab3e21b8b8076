import assert from 'node:assert/strict'
import { test } from 'node:test'
import { shortcomings } from '../report.ts'
import type { FaultName } from './faults.ts'
import { sheetsFor } from './measure.ts'
import { partText, plotOf } from './page.ts'
import type { Round } from './round.ts'
import { type Measured, sectionOf } from './sections.ts'
import { DEFAULT, FAST, type Mode, type Preset } from './settings.ts'

const round = (outageMs: number, more: Partial<Round> = {}): Round => ({
  calls: { sent: 50, failed: 4, nobodyReady: 3, inFlight: 0 },
  outageMs,
  closedMs: 400,
  slowestMs: 80,
  phases: { detect: 20, stop: 300, acquire: 8, start: 2, healthy: 60 },
  reasons: [
    ['nobody was ready', 3],
    ['ECONNRESET', 1],
  ],
  ...more,
})

function measured(fault: FaultName, mode: Mode, rounds: readonly Round[], preset: Preset = DEFAULT) {
  return { fault, preset, rounds: new Map([[mode, rounds]]) } satisfies Measured
}

const NONE = { sent: 300, failed: 0, nobodyReady: 0, inFlight: 0 }

for (const [what, one, missed] of [
  ['a warm one within 1.7 s', measured('worker', 'warm', [round(1_600)]), 0],
  [
    'a warm one that takes longer as often as not',
    measured('worker', 'warm', [round(1_701), round(1_800)]),
    1,
  ],
  ['a spare within 1.7 s', measured('worker', 'spare', [round(1_700)]), 0],
  ['a cold one, of which nothing is asked', measured('worker', 'cold', [round(60_000)]), 0],
  ['a failed request while the API server is frozen', measured('api', 'warm', [round(2_000)]), 1],
  ['none', measured('api', 'warm', [round(2_000, { calls: NONE })]), 0],
  ['one, but the Lease ran out', measured('api', 'warm', [round(20_000)], FAST), 0],
  ['a gate that is closed for 3 s', measured('agent', 'cold', [round(100, { closedMs: 3_000 })]), 1],
  ['nothing measured', measured('worker', 'warm', []), 1],
  ['a run that broke off', { ...measured('worker', 'cold', [round(1)]), failure: 'no worker' }, 1],
] as const) {
  test(`${missed === 0 ? 'met' : 'missed'}: ${what} (${one.fault})`, () => {
    assert.equal(shortcomings([sectionOf(one)]).length, missed)
  })
}

test('the page tells numbers, verdicts and reasons, and shows the plot', () => {
  const all = [
    measured('worker', 'warm', [round(4_000), round(7_000), round(12_000)]),
    measured('replica', 'warm', [round(6_100)], FAST),
  ]
  const text = partText({ facts: [['cores', '2']], rounds: 3, measured: all }, 'takeover.svg')
  assert.match(
    text,
    /\*\*Missed in this run:\*\*\n\n- LangFlow’s worker is killed: warm: fault → first good answer/,
  )
  assert.match(text, /\| worker killed \| 7\.00 s \(12\.0 s\), 4 failed \| \*\*MISSED\*\* \|/)
  assert.match(text, /\| replica killed, fast \| 6\.10 s \(6\.10 s\), 4 failed \| met \|/)
  assert.match(text, /warm: of 150 requests from the fault on, nobody was ready: 9; ECONNRESET: 3\./)
  assert.match(text, /\| warm: stop: → LangFlow stopped, Lease released \| ms \| 3 \| 300 \|/)
  assert.match(text, /!\[.+\]\(takeover\.svg\)/)
})

test('the plot leaves out what was not measured', () => {
  const rounds = new Map<Mode, Round[]>([
    ['cold', []],
    ['warm', [round(500)]],
  ])
  const svg = plotOf({ facts: [], rounds: 1, measured: [{ fault: 'worker', preset: DEFAULT, rounds }] })
  assert.match(svg, />warm</)
  assert.doesNotMatch(svg, />cold</)
})

test('by default the fast preset comes where the length of the Lease decides', () => {
  const sheets = sheetsFor({ faults: ['worker', 'replica', 'api'], preset: undefined })
  assert.deepEqual(
    sheets.map(({ fault, preset }) => `${fault} ${preset.name}`),
    ['worker default', 'replica default', 'replica fast', 'api default', 'api fast'],
  )
  assert.deepEqual(
    sheetsFor({ faults: ['worker'], preset: FAST }).map(({ preset }) => preset),
    [FAST],
  )
})

import { atMost, percentileAtMost, type Row, type Section, type Target } from '../row.ts'
import { FAULT, type FaultName, survives } from './faults.ts'
import { PHASES } from './phases.ts'
import type { Round } from './round.ts'
import type { Mode, Preset } from './settings.ts'

/** One fault with one preset, in all modes that were measured. */
export interface Measured {
  readonly fault: FaultName
  readonly preset: Preset
  readonly rounds: ReadonlyMap<Mode, readonly Round[]>
  /** Why it broke off. */
  readonly failure?: string
}

const PHASE_TEXT: Readonly<Record<(typeof PHASES)[number], string>> = {
  detect: 'detect: fault → the old leader gives way, or its Lease runs out',
  stop: 'stop: → LangFlow stopped, Lease released',
  acquire: 'acquire: → the next holder has the Lease',
  start: 'start: → LangFlow’s process runs',
  healthy: 'healthy: → LangFlow serves',
  answer: 'answer: → its first good answer',
}

/** How long the flow may be away, the median in ms; `undefined`: measured for comparison. */
export function outageLimit(fault: FaultName, mode: Mode): number | undefined {
  const isAimedAt = mode === 'spare' || (mode === 'warm' && (fault === 'worker' || fault === 'switchover'))
  return isAimedAt ? 1_700 : undefined
}

function outageTarget(fault: FaultName, mode: Mode): Target | undefined {
  const limit = outageLimit(fault, mode)
  return limit === undefined ? undefined : percentileAtMost(50, limit, 'ms')
}

function goTarget(mode: Mode): Target | undefined {
  return mode === 'warm' ? percentileAtMost(50, 1_300, 'ms') : undefined
}

/** The tables of one fault. */
export function sectionOf({ fault, preset, rounds, failure }: Measured): Section {
  const { title, about, moves } = FAULT[fault]
  return {
    title: titleOf(title, preset),
    shape: 'spread',
    about: [about, ...(moves ? [] : [aboutHolding(fault, preset)])],
    rows: [...rounds].flatMap(([mode, all]) => rowsOf(fault, mode, preset, all)),
    notes: [...rounds].flatMap(([mode, all]) => failuresOf(mode, all)),
    ...(failure === undefined ? {} : { failure }),
  }
}

function titleOf(title: string, preset: Preset): string {
  return `${title}${preset.name === 'default' ? '' : ` (${preset.name}: ${preset.text})`}`
}

function aboutHolding(fault: FaultName, preset: Preset): string {
  return survives(fault, preset)
    ? 'The same LangFlow process went on in each round: a run in which it did not breaks off.'
    : 'The Lease runs out meanwhile: LangFlow is killed in time, and started again once the API server answers.'
}

function rowsOf(fault: FaultName, mode: Mode, preset: Preset, rounds: readonly Round[]): Row[] {
  const row = (what: string, unit: string, values: readonly number[], target?: Target): Row => ({
    what: `${mode}: ${what}`,
    unit,
    values,
    ...(target && { target }),
  })
  const failed = (target?: Target) =>
    row(
      'failed requests',
      '',
      rounds.map(({ calls }) => calls.failed),
      target,
    )
  const outage = rounds.map(({ outageMs }) => outageMs)
  if (FAULT[fault].moves) {
    const until =
      mode === 'spare'
        ? 'fault → first good answer, in place'
        : 'fault → first good answer of the next holder'
    const sinceGo = rounds.flatMap(({ phases: { start, healthy, answer } }) =>
      start === undefined || healthy === undefined || answer === undefined ? [] : [start + healthy + answer],
    )
    return [
      row(until, 'ms', outage, outageTarget(fault, mode)),
      failed(),
      ...PHASES.flatMap((phase) => {
        const values = rounds.flatMap(({ phases }) => phases[phase] ?? [])
        return values.length === 0 ? [] : [row(PHASE_TEXT[phase], 'ms', values)]
      }),
      ...(sinceGo.length === 0
        ? []
        : [row('the last three together: go → first good answer', 'ms', sinceGo, goTarget(mode))]),
    ]
  }
  const closed = rounds.map(({ closedMs }) => closedMs)
  return [
    failed(fault === 'api' && survives(fault, preset) ? atMost(0, 'requests') : undefined),
    ...(fault === 'agent'
      ? [
          row(
            'of them in flight at the fault',
            '',
            rounds.map(({ calls }) => calls.inFlight),
            atMost(0, 'requests'),
          ),
        ]
      : []),
    row('no agent says to be ready', 'ms', closed, fault === 'agent' ? atMost(2_000, 'ms') : undefined),
    row('longest time without a good answer', 'ms', outage),
    row(
      'slowest good answer',
      'ms',
      rounds.map((one) => one.slowestMs),
    ),
  ]
}

/** Why requests failed, all rounds of a mode together. */
function failuresOf(mode: Mode, rounds: readonly Round[]): string[] {
  const counted = new Map<string, number>()
  for (const { reasons } of rounds)
    for (const [why, times] of reasons) counted.set(why, (counted.get(why) ?? 0) + times)
  if (counted.size === 0) return []
  const sent = rounds.reduce((sum, { calls }) => sum + calls.sent, 0)
  const listed = [...counted].sort((a, b) => b[1] - a[1]).map(([why, times]) => `${why}: ${times}`)
  return [`${mode}: of ${sent} requests from the fault on, ${listed.join('; ')}.`]
}

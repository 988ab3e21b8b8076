import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { BUNDLE } from '../harness/bundle.ts'
import type { Beat } from '../harness/judge.ts'
import { percentile, table } from '../harness/report.ts'
import { mono } from '../harness/wait.ts'
import type { Outcome } from './chaos.ts'
import { KINDS } from './faults/kinds.ts'
import { EXCUSES, type Excuse, type Gap, type Violation } from './judge.ts'
import { BACK_OFF } from './kubelet.ts'
import { ALLOWED } from './recovery.ts'

interface Times {
  readonly n: number
  readonly totalMs: number
  readonly medianMs: number
  readonly p95Ms: number
  readonly longestMs: number
}

function timesOf(lengths: readonly number[]): Times {
  const rank = (share: number) => (lengths.length === 0 ? 0 : Math.round(percentile(lengths, share)))
  const totalMs = Math.round(lengths.reduce((sum, one) => sum + one, 0))
  return { n: lengths.length, totalMs, medianMs: rank(0.5), p95Ms: rank(0.95), longestMs: rank(1) }
}

const lengthOf = ({ from, to }: Gap) => to - from

/** Everything that a run came to, as JSON has it. */
export function summarise(outcome: Outcome) {
  const { judge, injector, recoveries, violation } = outcome
  const silences = judge.silences.list
  const handovers = silences.filter(({ before, after }) => after !== null && before !== after)
  const terms = judge.terms.list
  return {
    seed: outcome.seed,
    minutes: outcome.minutes,
    ranSeconds: Math.round(outcome.ranMs / 1000),
    interrupted: outcome.interrupted,
    kubernetes: outcome.kubernetes,
    violation: violation === null ? null : { invariant: violation.invariant, message: violation.message },
    faults: {
      injected: injector.list.length,
      missed: injector.missed,
      pairsThatMet: injector.pairs.size,
      pairsPossible: (KINDS.length * (KINDS.length + 1)) / 2,
      byKind: Object.fromEntries(
        KINDS.map((kind) => {
          const list = injector.list.filter((one) => one.kind === kind)
          return [kind, { n: list.length, onTheLeader: list.filter(({ role }) => role === 'leader').length }]
        }),
      ),
    },
    takeovers: Math.max(0, terms.length - 1),
    overlapMs: Math.round(judge.overlapMs * 10) / 10,
    excused: judge.excused,
    noWorkloadActing: timesOf(silences.map(lengthOf)),
    betweenTerms: timesOf(handovers.map(lengthOf)),
    nobodyReady: timesOf(judge.outages.list.map(lengthOf)),
    recovery: { allowed: ALLOWED, ...timesOf(recoveries.map(({ ms }) => ms)) },
    checked: judge.counts,
    pods: outcome.pods,
    restarts: outcome.restarts,
    probeKills: outcome.probeKills,
    memoryMb: outcome.memory,
  }
}

export type Summary = ReturnType<typeof summarise>

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`
const tableOf = (head: readonly string[], rows: readonly (readonly (string | number)[])[]) =>
  table(
    head,
    head.map(() => '---'),
    rows.map((row) => row.map(String)),
  )
const timesRow = (name: string, { n, totalMs, medianMs, p95Ms, longestMs }: Times) => [
  name,
  n,
  seconds(totalMs),
  seconds(medianMs),
  seconds(p95Ms),
  seconds(longestMs),
]
const spread = (mb: readonly number[]) =>
  mb.length === 0 ? '-' : `${Math.min(...mb)}-${Math.max(...mb)} MB (n=${mb.length})`

/** The same for people. */
export function markdown(summary: Summary): string {
  const { faults, recovery, checked, memoryMb, violation, excused } = summary
  const verdict =
    violation === null
      ? `No invariant was broken${summary.interrupted ? ' until the run was interrupted' : ''}.`
      : `**Broken: ${violation.invariant}.** ${violation.message}.`
  const times = ['', 'n', 'in all', 'median', 'p95', 'longest']
  const allowed = Object.entries(recovery.allowed).map(([name, ms]) => `${name} ${ms / 1000} s`)
  return [
    '# Chaos run',
    `${verdict} Seed ${summary.seed}, ${seconds(summary.ranSeconds * 1000)} of ${summary.minutes} min, five replicas, kube-apiserver ${summary.kubernetes}.`,
    tableOf(
      ['what', 'measured'],
      [
        ['takeovers', summary.takeovers],
        ['two workloads acting at once', `${summary.overlapMs} ms`],
        ...(Object.keys(EXCUSES) as Excuse[]).map((name) => [
          `excused: ${name}`,
          `${excused[name].signs} signs of life in ${excused[name].incidents} incidents, up to ${Math.round(excused[name].longestMs)} ms`,
        ]),
        ['faults', `${faults.injected} injected, ${faults.missed} found nothing to hit`],
        [
          'pairs of faults that met within a lease duration',
          `${faults.pairsThatMet} of ${faults.pairsPossible}`,
        ],
        [
          'checked',
          `${checked.beats} signs of life, ${checked.polls} answers of /readyz (${checked.readyPolls} of them 200), ${checked.recoveries} recoveries`,
        ],
        [
          'pods, restarts, of those by a probe',
          `${summary.pods}, ${summary.restarts}, ${summary.probeKills}`,
        ],
        [
          'RSS of an agent, begin and end',
          `${spread(memoryMb.begin.agents)}, ${spread(memoryMb.end.agents)}`,
        ],
        [
          'RSS of a launcher, begin and end',
          `${spread(memoryMb.begin.launchers)}, ${spread(memoryMb.end.launchers)}`,
        ],
      ],
    ),
    tableOf(times, [
      timesRow('no workload executing', summary.noWorkloadActing),
      timesRow('of those, between two terms', summary.betweenTerms),
      timesRow('nobody ready', summary.nobodyReady),
      timesRow('until one serves, all faults healed', recovery),
    ]),
    `Allowed for the last one: ${allowed.join(', ')}; and the shortest cool-down where every replica has one. The kubelet is imitated: probes and grace periods are those of deploy/base, its back-off is ${BACK_OFF.firstMs / 1000}-${BACK_OFF.longestMs / 1000} s instead of 10 s to 5 min.`,
    '## Faults',
    tableOf(
      ['fault', 'n', 'on the leader'],
      Object.entries(faults.byKind).map(([kind, { n, onTheLeader }]) => [kind, n, onTheLeader]),
    ),
    ...(Object.keys(EXCUSES) as Excuse[])
      .filter((name) => excused[name].signs > 0)
      .map((name) => `*${name}*: ${EXCUSES[name]}`),
  ].join('\n\n')
}

const BEATS_OF_EACH = 6
const TERMS = 4
const FAULTS_MS = 60_000

/** What a violation leaves behind, in words; the whole of it goes into the directory that is kept. */
export function evidenceOf(outcome: Outcome, violation: Violation, evidence: string): string {
  const { judge, injector, minutes, seed, main } = outcome
  // npm runs it in another directory than it may have been started in.
  const program = main === BUNDLE ? '' : ` --main '${resolve(main)}'`
  const now = mono()
  writeFileSync(join(evidence, 'faults.json'), JSON.stringify(injector.list, null, 2))
  const late = injector.list.filter(({ healedAt }) => healedAt >= now - FAULTS_MS)
  return [
    `VIOLATION, ${violation.invariant}: ${violation.message}.`,
    '',
    'last signs of life (CLOCK_MONOTONIC in ms):',
    ...lastOfEach(judge.recent).map(
      ({ replica, epoch, pid, what, mono: at }) =>
        `  ${at.toFixed(1)}  ${replica} epoch ${epoch} pid ${pid} ${what}`,
    ),
    '',
    `faults of the last ${FAULTS_MS / 1000} s:`,
    ...late.map(({ kind, replica, role, at, healedAt }) => {
      const until = healedAt === Number.POSITIVE_INFINITY ? 'active' : `until ${healedAt.toFixed(1)}`
      return `  ${at.toFixed(1)}  ${kind}${replica && ` on ${replica} (${role})`}, ${until}`
    }),
    '',
    `everything is in ${evidence}: logs/ of all pods, beats, faults.json`,
    `again: npm run chaos -- --minutes ${minutes} --seed ${seed}${program}`,
    '(the same faults in the same order; processes and the machine are real, so that their timing is not repeated exactly)',
  ].join('\n')
}

/** The last few of each term, in the order of their times. */
function lastOfEach(beats: readonly Beat[]): Beat[] {
  const owners = Map.groupBy(beats, ({ replica, epoch }) => `${replica}/${epoch}`)
  const last = [...owners.values()].slice(-TERMS)
  return last.flatMap((list) => list.slice(-BEATS_OF_EACH)).sort((a, b) => a.mono - b.mono)
}

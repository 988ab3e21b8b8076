import { BackOff } from './back-off.ts'
import type { Outcome } from './chaos.ts'
import { KINDS } from './faults/kinds.ts'
import type { Gap } from './gaps.ts'
import { EXCUSES, type Excuse } from './judge.ts'
import { ALLOWED } from './recovery.ts'
import type { Struck } from './strikes.ts'

/** A fault may show only when a lease duration, and a look at it, have passed. */
const SHOWS_WITHIN_MS = 16_000

interface Times {
  readonly n: number
  readonly totalMs: number
  readonly medianMs: number
  readonly p95Ms: number
  readonly longestMs: number
}

function timesOf(lengths: readonly number[]): Times {
  const sorted = [...lengths].sort((a, b) => a - b)
  const rank = (share: number) => Math.round(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0)
  const totalMs = Math.round(sorted.reduce((sum, one) => sum + one, 0))
  return { n: sorted.length, totalMs, medianMs: rank(0.5), p95Ms: rank(0.95), longestMs: rank(1) }
}

const lengthOf = ({ from, to }: Gap) => to - from

/** The one fault, or the two, that can have made the gap; where more can, it cannot be told. */
export function causeOf(gap: Gap, struck: readonly Struck[]): string {
  const before = gap.before.split('/', 1)[0]
  const possible = struck.filter(
    ({ at, healedAt, replica }) =>
      at < gap.to && healedAt >= gap.from - SHOWS_WITHIN_MS && (replica === '' || replica === before),
  )
  const kinds = [...new Set(possible.map(({ kind }) => kind))].sort()
  if (kinds.length === 0) return 'none that was seen'
  return kinds.length > 2 ? 'three faults or more' : kinds.join(' or ')
}

function by(key: (gap: Gap) => string, gaps: readonly Gap[]): Record<string, Times> {
  const causes = Map.groupBy(gaps, key)
  const entries = [...causes].map(([cause, list]) => [cause, timesOf(list.map(lengthOf))] as const)
  return Object.fromEntries(entries.sort(([, a], [, b]) => b.totalMs - a.totalMs))
}

/** Everything that a run came to, as JSON has it. */
export function summarise(outcome: Outcome) {
  const { judge, strikes, recoveries, violation } = outcome
  const silences = judge.silences.list
  const handovers = silences.filter(({ before, after }) => after !== null && before !== after)
  const terms = judge.terms.list
  const cause = (gap: Gap) => causeOf(gap, strikes.list)
  const reason = ({ after }: Gap) => {
    const term = terms.find(({ replica, epoch }) => `${replica}/${epoch}` === after)
    return (term && outcome.reasons.get(term)) ?? 'unknown'
  }
  return {
    seed: outcome.seed,
    minutes: outcome.minutes,
    ranSeconds: Math.round(outcome.ranMs / 1000),
    interrupted: outcome.interrupted,
    kubernetes: outcome.kubernetes,
    violation: violation === null ? null : { invariant: violation.invariant, message: violation.message },
    faults: {
      struck: strikes.list.length,
      missed: strikes.missed,
      pairsThatMet: strikes.pairs.size,
      pairsPossible: (KINDS.length * (KINDS.length + 1)) / 2,
      byKind: Object.fromEntries(
        KINDS.map((kind) => {
          const list = strikes.list.filter((one) => one.kind === kind)
          return [kind, { n: list.length, onTheLeader: list.filter(({ role }) => role === 'leader').length }]
        }),
      ),
    },
    takeovers: Math.max(0, terms.length - 1),
    overlapMs: Math.round(judge.overlapMs * 10) / 10,
    excused: judge.excused,
    noWorkloadActing: {
      all: timesOf(silences.map(lengthOf)),
      betweenTerms: timesOf(handovers.map(lengthOf)),
      byReason: by(reason, handovers),
    },
    nobodyReady: {
      all: timesOf(judge.outages.list.map(lengthOf)),
      byCause: by(cause, judge.outages.list),
    },
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
const table = (head: readonly string[], rows: readonly (readonly (string | number)[])[]) =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
const timesRow = (name: string, { n, totalMs, medianMs, p95Ms, longestMs }: Times) => [
  name,
  n,
  seconds(totalMs),
  seconds(medianMs),
  seconds(p95Ms),
  seconds(longestMs),
]
const timesRows = (all: Record<string, Times>) =>
  Object.entries(all).map(([name, times]) => timesRow(name, times))
const spread = (mb: readonly number[]) =>
  mb.length === 0 ? '-' : `${Math.min(...mb)}-${Math.max(...mb)} MB (n=${mb.length})`

/** The same for people. */
export function markdown(summary: Summary): string {
  const { faults, noWorkloadActing, nobodyReady, recovery, checked, memoryMb, violation, excused } = summary
  const verdict =
    violation === null
      ? `No invariant was broken${summary.interrupted ? ' until the run was interrupted' : ''}.`
      : `**Broken: ${violation.invariant}.** ${violation.message}.`
  const times = ['', 'n', 'in all', 'median', 'p95', 'longest']
  const allowed = Object.entries(recovery.allowed).map(([name, ms]) => `${name} ${ms / 1000} s`)
  return [
    '# Chaos run',
    `${verdict} Seed ${summary.seed}, ${seconds(summary.ranSeconds * 1000)} of ${summary.minutes} min, five replicas, kube-apiserver ${summary.kubernetes}.`,
    table(
      ['what', 'measured'],
      [
        ['takeovers', summary.takeovers],
        ['two workloads acting at once', `${summary.overlapMs} ms`],
        ...(Object.keys(EXCUSES) as Excuse[]).map((name) => [
          `excused: ${name}`,
          `${excused[name].signs} signs of life in ${excused[name].incidents} incidents, up to ${Math.round(excused[name].longestMs)} ms`,
        ]),
        ['faults', `${faults.struck} struck, ${faults.missed} found nothing to strike`],
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
    table(times, [
      timesRow('no workload executing', noWorkloadActing.all),
      timesRow('of those, between two terms', noWorkloadActing.betweenTerms),
      timesRow('nobody ready', nobodyReady.all),
      timesRow('until one serves, all faults healed', recovery),
    ]),
    `Allowed for the last one: ${allowed.join(', ')}; and the shortest cool-down where every replica has one. The kubelet is imitated: probes and grace periods are those of deploy/base, its back-off is ${BackOff.firstMs / 1000}-${BackOff.longestMs / 1000} s instead of 10 s to 5 min.`,
    '## Time with nobody ready, by cause',
    table(['cause', ...times.slice(1)], timesRows(nobodyReady.byCause)),
    '## Time between two terms, by why the next one could begin',
    table(['reason', ...times.slice(1)], timesRows(noWorkloadActing.byReason)),
    '## Faults',
    table(
      ['fault', 'n', 'on the leader'],
      Object.entries(faults.byKind).map(([kind, { n, onTheLeader }]) => [kind, n, onTheLeader]),
    ),
    ...(Object.keys(EXCUSES) as Excuse[])
      .filter((name) => excused[name].signs > 0)
      .map((name) => `*${name}*: ${EXCUSES[name]}`),
  ].join('\n\n')
}

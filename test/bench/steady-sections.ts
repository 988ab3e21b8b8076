import { atMost, type Row, type Section, type Target } from './row.ts'
import type { Sizes } from './sizes.ts'
import type { Steady } from './steady.ts'

const AGENT_MB = 95
const LAUNCHER_MB = 70
/** Of agent and launcher together: 0.3 and 0.1 s a minute. */
const CPU_PERCENT = { leader: 0.5, follower: 0.17 }
const RENEWALS_A_MINUTE = 30

const isOurs = ({ what }: Steady) => /^(agent|launcher)/.test(what)

/** What was seen while nothing happened, as tables. */
export function steadySections(
  all: readonly Steady[],
  sizes: Sizes['steady'],
  notes: readonly string[],
): Section[] {
  const seconds = sizes.windowMs / 1000
  const settled = sizes.settleMs / 1000
  return [
    {
      title: 'Load on the API server',
      shape: 'figure',
      about: [
        `Requests in ${seconds} s in which nothing happens, ${settled} s after the start, a minute; from kube-apiserver’s audit log, which knows each candidate by its user agent (client-go: by its ServiceAccount).`,
        `A leader renews each 2 s: ${RENEWALS_A_MINUTE} a minute, one more or less by where the window falls.`,
      ],
      rows: all.flatMap((one) => requestRows(one, seconds)),
      notes,
    },
    {
      title: 'Memory',
      shape: 'spread',
      about: [
        `Resident memory (VmRSS, 1 MB = 10⁶ bytes) of \`agent\` and \`launch\` as two programs, as in a pod, each ${sizes.sampleMs / 1000} s in the same window.`,
      ],
      rows: all.map((one) => ({
        what: one.what,
        unit: 'MB',
        values: one.resident,
        ...(isOurs(one)
          ? { target: atMost(one.what.startsWith('agent') ? AGENT_MB : LAUNCHER_MB, 'MB') }
          : {}),
      })),
      notes,
    },
    {
      title: 'Idle CPU',
      shape: 'figure',
      about: [
        'Processor time of all threads in the same window, as a share of one core. The leader’s agent renews and asks its workload’s health once a second.',
      ],
      rows: [
        ...all.map((one) => ({ what: one.what, unit: '% of a core', values: [one.cpu] })),
        ...(['leader', 'follower'] as const).map((role) => ({
          what: `agent and launcher, ${role}`,
          unit: '% of a core',
          values: together(all.filter((one) => isOurs(one) && one.what.endsWith(role))),
          target: atMost(CPU_PERCENT[role], '%'),
        })),
      ],
      notes,
    },
  ]
}

function together(some: readonly Steady[]): number[] {
  return some.length === 0 ? [] : [some.reduce((sum, { cpu }) => sum + cpu, 0)]
}

function requestRows(one: Steady, seconds: number): Row[] {
  if (one.requests === undefined || one.watches === undefined) return []
  const leads = one.what.endsWith('leader')
  const target = leads ? about(RENEWALS_A_MINUTE, 60 / seconds) : atMost(0, 'a minute')
  return [
    {
      what: `${one.what}: requests beside watches`,
      unit: 'a minute',
      values: [one.requests],
      ...(isOurs(one) ? { target } : {}),
    },
    {
      what: `${one.what}: watches opened since its start`,
      unit: '',
      values: [one.watches],
      ...(isOurs(one) ? { target: about(1, 0) } : {}),
    },
  ]
}

function about(wanted: number, slack: number): Target {
  // A window of a few ms more than it should be gives a fraction less.
  const rounding = wanted / 100
  return {
    text: slack === 0 ? `${wanted}` : `${wanted} ± ${slack}`,
    met: ([value]) => value !== undefined && Math.abs(value - wanted) <= slack + rounding,
  }
}

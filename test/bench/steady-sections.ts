import { atMost, type Row, type Section, type Target } from './row.ts'
import type { Sizes } from './sizes.ts'
import type { Steady } from './steady.ts'

const AGENT_MB = 75
const LAUNCHER_MB = 55
const CPU_PERCENT = 0.5
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
      rows: all.map((one) => ({
        what: one.what,
        unit: '% of a core',
        values: [one.cpu],
        ...(isOurs(one) ? { target: atMost(CPU_PERCENT, '%') } : {}),
      })),
      notes,
    },
  ]
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

import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { deployRights } from '../harness/control-plane.ts'
import { LoggedProcess } from '../harness/logged-process.ts'
import { Contest } from './contest.ts'
import type { OurSide } from './ours.ts'
import { BarePod } from './ours.ts'
import type { PeerSide } from './peer.ts'
import { atMost, type Row, type Section, type Target } from './report.ts'
import type { Sizes } from './sizes.ts'
import { end, say, type Testbed } from './testbed.ts'

/** A process that is looked at, and who asks the API server in its name. */
interface Watched {
  readonly what: string
  readonly pid: number
  readonly client?: { readonly userAgent?: string; readonly user?: string }
}

export interface Steady {
  readonly what: string
  /** In MB, one value each few seconds. */
  readonly resident: number[]
  /** Of one core, in percent, over the whole window. */
  readonly cpu: number
  /** A minute, watches not counted; `undefined`: it does not talk to the API server. */
  readonly requests: number | undefined
  /** Since it started. */
  readonly watches: number | undefined
}

/** Leader and follower of both sides while nothing happens. Rejects where they cannot be brought to that. */
export async function measureSteady(
  testbed: Testbed,
  ours: OurSide,
  peer: PeerSide | string,
  sizes: Sizes['steady'],
): Promise<Steady[]> {
  const closing: (() => Promise<void>)[] = []
  try {
    const watched = [
      ...(await startOurs(testbed, ours, closing)),
      ...(typeof peer === 'string' ? [] : await startPeer(testbed, peer, closing)),
      startNode(testbed, closing),
    ]
    say(`steady: waiting ${sizes.settleMs / 1000} s for everything to settle`)
    await sleep(sizes.settleMs)
    say(`steady: looking for ${sizes.windowMs / 1000} s`)
    return await look(testbed, watched, sizes)
  } finally {
    for (const close of closing.reverse()) await close()
  }
}

async function look(
  testbed: Testbed,
  watched: readonly Watched[],
  sizes: Sizes['steady'],
): Promise<Steady[]> {
  const from = Date.now()
  const begun = performance.now()
  const before = watched.map(({ pid }) => cpuSeconds(pid))
  const resident: number[][] = watched.map(({ pid }) => [residentMb(pid)])
  for (let at = sizes.sampleMs; at <= sizes.windowMs; at += sizes.sampleMs) {
    await sleep(begun + at - performance.now())
    for (const [n, { pid }] of watched.entries()) resident[n]!.push(residentMb(pid))
  }
  const after = watched.map(({ pid }) => cpuSeconds(pid))
  const took = performance.now() - begun
  const to = from + took
  // What came in within the window may still be on its way to the log.
  await sleep(1_000)
  return watched.map(({ what, client }, n) => {
    const all = client === undefined ? undefined : testbed.plane.requests(client)
    const within = all?.filter(
      ({ verb, at }) => verb !== 'watch' && Date.parse(at) >= from && Date.parse(at) < to,
    )
    return {
      what,
      resident: resident[n]!,
      cpu: ((after[n]! - before[n]!) / took) * 1e5,
      requests: within && (within.length * 60_000) / took,
      watches: all?.filter(({ verb }) => verb === 'watch').length,
    }
  })
}

async function startOurs(
  testbed: Testbed,
  ours: OurSide,
  closing: (() => Promise<void>)[],
): Promise<Watched[]> {
  const namespace = await testbed.plane.newNamespace()
  const kubeconfig = await deployRights(testbed.plane, namespace)
  const place = { namespace, kubeconfig, beats: ours.newBeats() }
  const leader = await BarePod.start(testbed, { ...place, identity: 'steady-leader' })
  closing.push(() => leader.close())
  await leader.leads()
  const follower = await BarePod.start(testbed, { ...place, identity: 'steady-follower' })
  closing.push(() => follower.close())
  await follower.standsBy()
  return [
    { what: 'agent, leader', pid: leader.agent.pid, client: { userAgent: '(steady-leader)' } },
    { what: 'agent, follower', pid: follower.agent.pid, client: { userAgent: '(steady-follower)' } },
    { what: 'launcher, leader', pid: leader.launcher.pid },
    { what: 'launcher, follower', pid: follower.launcher.pid },
  ]
}

async function startPeer(
  testbed: Testbed,
  peer: PeerSide,
  closing: (() => Promise<void>)[],
): Promise<Watched[]> {
  const contest = await Contest.open(testbed, peer, 2)
  closing.push(() => contest.close())
  const leader = contest.leader()
  return [leader, ...contest.followers()].map((one) => ({
    what: `client-go, ${one === leader ? 'leader' : 'follower'}`,
    pid: one.process.pid,
    client: { user: `system:serviceaccount:${contest.namespace}:${one.identity}` },
  }))
}

/** Node with nothing to do: what agent and launcher cannot go below. */
function startNode(testbed: Testbed, closing: (() => Promise<void>)[]): Watched {
  const command = [process.execPath, '--eval', 'setInterval(() => {}, 2 ** 30)']
  const node = testbed.keep(new LoggedProcess('node', command))
  closing.push(() => end(node))
  return { what: 'node with nothing to do', pid: node.pid }
}

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

/** USER_HZ: clock ticks a second in /proc, the same on every architecture that Node runs on. */
const TICKS = 100

/** Resident memory (VmRSS) in MB of 10^6 bytes. Throws where the process is gone. */
export function residentMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]
  if (kib === undefined) throw new Error(`process ${pid} has no memory any more`)
  return (Number(kib) * 1024) / 1e6
}

/** Processor time used so far by all its threads, user and system, in seconds at a resolution of 10 ms. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // From behind the name, which may hold anything: state is field 3, utime 14, stime 15 (proc_pid_stat(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

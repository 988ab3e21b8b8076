import { setTimeout as sleep } from 'node:timers/promises'
import { LoggedProcess } from '../harness/logged-process.ts'
import { podObstacle } from '../harness/pod.ts'
import { ApiServerScene } from '../harness/scene.ts'
import { Contest, type ourSide, type Side } from './contest.ts'
import { atMost, figure, measured, type Row, type Section, spread, type Target } from './report.ts'
import { say, type Testbed } from './testbed.ts'
import { cpuSeconds, residentMb } from './usage.ts'

/** The phases of the measurement, in milliseconds. */
export interface Times {
  readonly settleMs: number
  readonly windowMs: number
  readonly sampleMs: number
}

/** A process to measure. */
interface Watched {
  readonly what: string
  readonly pid: number
  /** The client in the audit log. A process without it sends no requests to the API server. */
  readonly client?: { readonly userAgent?: string; readonly user?: string }
  /** In MB. A process without a limit is shown for comparison. */
  readonly limitMb?: number
}

const AGENT = { limitMb: 95 }
const LAUNCHER = { limitMb: 70 }
/** In percent of a core, for agent and launcher together. That is 0.3 s and 0.1 s a minute. */
const CPU_PERCENT = { leader: 0.5, follower: 0.17 }
const RENEWALS_A_MINUTE = 30

/** Measures leader and follower of both sides while nothing happens. */
export async function measureSteady(
  testbed: Testbed,
  ours: ReturnType<typeof ourSide>,
  peer: Side | undefined,
  times: Times,
): Promise<Section[]> {
  const seconds = times.windowMs / 1000
  const requests: Row[] = []
  const memory: Row[] = []
  const cpu: Row[] = []
  const load: Section = {
    title: 'Load on the API server',
    about: [
      `Requests per minute, counted for ${seconds} s in which nothing happens, ${times.settleMs / 1000} s after the start. They are from kube-apiserver’s audit log, which identifies each candidate by its user agent (client-go: by its ServiceAccount).`,
      `A leader renews every 2 s, which is ${RENEWALS_A_MINUTE} times a minute. The position of the measured window adds or removes one.`,
    ],
    rows: requests,
    notes: [],
  }
  await measured(load, async () => {
    const obstacle = podObstacle()
    if (obstacle !== undefined) throw new Error(obstacle)
    await withOurs(testbed, ours, (own) =>
      withPeer(testbed, peer, (other) =>
        sample(testbed, [...own, ...other], times, { requests, memory, cpu }),
      ),
    )
  })
  return [
    load,
    {
      title: 'Memory',
      about: [
        `Resident memory (VmRSS, 1 MB = 10⁶ bytes) of \`agent\` and \`launch\` as two processes, as in a pod, sampled every ${times.sampleMs / 1000} s in the same window.`,
      ],
      rows: memory,
      notes: [],
    },
    {
      title: 'Idle CPU',
      about: [
        'Processor time of all threads in the same window, as a share of one core. The leader’s agent renews, and requests its workload’s health once a second.',
      ],
      rows: cpu,
      notes: [],
    },
  ]
}

async function withOurs(
  testbed: Testbed,
  ours: ReturnType<typeof ourSide>,
  sample: (watched: Watched[]) => Promise<void>,
): Promise<void> {
  const opened = ApiServerScene.open(testbed.plane)
  const beats = await testbed.onScene(opened, async (scene) => {
    const pod = (identity: string) => scene.pod(identity, testbed.direct(scene, identity))
    const leader = await pod('steady-leader')
    await leader.agent.event('serving')
    const follower = await pod('steady-follower')
    await follower.agent.event('standby_ready')
    await sample([
      { what: 'agent, leader', pid: leader.agent.pid, client: { userAgent: '(steady-leader)' }, ...AGENT },
      {
        what: 'agent, follower',
        pid: follower.agent.pid,
        client: { userAgent: '(steady-follower)' },
        ...AGENT,
      },
      { what: 'launcher, leader', pid: leader.launcherPid(), ...LAUNCHER },
      { what: 'launcher, follower', pid: follower.launcherPid(), ...LAUNCHER },
    ])
  })
  ours.beats.push(beats)
}

/** Adds the peer's processes, if there is a peer, and an idle Node, which is the lower limit for agent and launcher. */
async function withPeer(
  testbed: Testbed,
  peer: Side | undefined,
  sample: (watched: Watched[]) => Promise<void>,
): Promise<void> {
  const node = new LoggedProcess('node', [process.execPath, '--eval', 'setInterval(() => {}, 2 ** 30)'])
  const idle = { what: 'node with nothing to do', pid: node.pid }
  await testbed.using(
    () => node.stop(),
    () =>
      peer === undefined
        ? sample([idle])
        : Contest.play(testbed, peer, 2, async (contest) => {
            const one = (role: string, { pid, name }: LoggedProcess) => {
              const user = `system:serviceaccount:${contest.arena.namespace}:${name}`
              return { what: `client-go, ${role}`, pid, client: { user } }
            }
            const followers = contest.followers().map((follower) => one('follower', follower))
            await sample([one('leader', contest.leader()), ...followers, idle])
          }),
  )
}

async function sample(
  testbed: Testbed,
  watched: readonly Watched[],
  { settleMs, windowMs, sampleMs }: Times,
  rows: Readonly<Record<'requests' | 'memory' | 'cpu', Row[]>>,
): Promise<void> {
  say(`steady: ${(settleMs + windowMs) / 1000} s in which nothing happens`)
  await sleep(settleMs)
  const from = Date.now()
  const begun = performance.now()
  const before = watched.map(({ pid }) => cpuSeconds(pid))
  const samples = watched.map(({ what, limitMb }) =>
    spread(what, 'MB', limitMb === undefined ? undefined : atMost(limitMb, 'MB')),
  )
  for (let at = 0; at <= windowMs; at += sampleMs) {
    await sleep(Math.max(0, begun + at - performance.now()))
    for (const [n, { pid }] of watched.entries()) samples[n]!.values.push(residentMb(pid))
  }
  const used = watched.map(({ pid }, n) => cpuSeconds(pid) - before[n]!)
  const took = performance.now() - begun
  // The last requests of the window may not be in the log yet.
  await sleep(1_000)

  rows.memory.push(...samples)
  const percent = used.map((seconds) => (seconds / took) * 1e5)
  rows.cpu.push(...watched.map(({ what }, n) => figure(what, '% of a core', percent[n])))
  for (const role of ['leader', 'follower'] as const) {
    const isOurs = ({ what, limitMb }: Watched) => limitMb !== undefined && what.endsWith(role)
    const together = percent.filter((_, n) => isOurs(watched[n]!)).reduce((sum, one) => sum + one, 0)
    const target = atMost(CPU_PERCENT[role], '%')
    rows.cpu.push(figure(`agent and launcher, ${role}`, '% of a core', together, target))
  }
  for (const { what, client, limitMb } of watched) {
    if (client === undefined) continue
    const all = testbed.plane.requests(client)
    const isWithin = ({ at }: { at: string }) => Date.parse(at) >= from && Date.parse(at) < from + took
    const asked = all.filter((one) => one.verb !== 'watch' && isWithin(one)).length
    const watches = all.filter(({ verb }) => verb === 'watch').length
    const renewals = about(RENEWALS_A_MINUTE, 60_000 / windowMs)
    const target = what.endsWith('leader') ? renewals : atMost(0, 'a minute')
    const ifOurs = (one: Target) => (limitMb === undefined ? undefined : one)
    rows.requests.push(
      figure(`${what}: requests beside watches`, 'a minute', (asked * 60_000) / took, ifOurs(target)),
      figure(`${what}: watches opened since its start`, '', watches, ifOurs(about(1, 0))),
    )
  }
}

function about(wanted: number, slack: number): Target {
  // If the window is a few ms too long, the rate is a fraction too small.
  const rounding = wanted / 100
  return {
    text: slack === 0 ? `${wanted}` : `${wanted} ± ${slack}`,
    met: ([value]) => value !== undefined && Math.abs(value - wanted) <= slack + rounding,
  }
}

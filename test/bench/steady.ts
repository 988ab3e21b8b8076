import { setTimeout as sleep } from 'node:timers/promises'
import { deployRights } from '../e2e/deploy-rights.ts'
import { LoggedProcess } from '../support/logged-process.ts'
import { BarePod } from './bare-pod.ts'
import { Contest } from './contest.ts'
import { end, type Ground } from './ground.ts'
import type { OurSide } from './ours.ts'
import type { PeerSide } from './peer.ts'
import { say } from './progress.ts'
import type { Sizes } from './sizes.ts'
import { cpuSeconds, residentMb } from './usage.ts'

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
  ground: Ground,
  ours: OurSide,
  peer: PeerSide | string,
  sizes: Sizes['steady'],
): Promise<Steady[]> {
  const closing: (() => Promise<void>)[] = []
  try {
    const watched = [
      ...(await startOurs(ground, ours, closing)),
      ...(typeof peer === 'string' ? [] : await startPeer(ground, peer, closing)),
      startNode(ground, closing),
    ]
    say(`steady: waiting ${sizes.settleMs / 1000} s for everything to settle`)
    await sleep(sizes.settleMs)
    say(`steady: looking for ${sizes.windowMs / 1000} s`)
    return await look(ground, watched, sizes)
  } finally {
    for (const close of closing.reverse()) await close()
  }
}

async function look(ground: Ground, watched: readonly Watched[], sizes: Sizes['steady']): Promise<Steady[]> {
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
    const all = client === undefined ? undefined : ground.plane.requests(client)
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
  ground: Ground,
  ours: OurSide,
  closing: (() => Promise<void>)[],
): Promise<Watched[]> {
  const namespace = await ground.plane.newNamespace()
  const kubeconfig = await deployRights(ground.plane, namespace)
  const place = { namespace, kubeconfig, beats: ours.newBeats() }
  const leader = await BarePod.start(ground, { ...place, identity: 'steady-leader' })
  closing.push(() => leader.close())
  await leader.leads()
  const follower = await BarePod.start(ground, { ...place, identity: 'steady-follower' })
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
  ground: Ground,
  peer: PeerSide,
  closing: (() => Promise<void>)[],
): Promise<Watched[]> {
  const contest = await Contest.open(ground, peer, 2)
  closing.push(() => contest.close())
  const leader = contest.leader()
  return [leader, ...contest.followers()].map((one) => ({
    what: `client-go, ${one === leader ? 'leader' : 'follower'}`,
    pid: one.process.pid,
    client: { user: `system:serviceaccount:${contest.namespace}:${one.identity}` },
  }))
}

/** Node with nothing to do: what agent and launcher cannot go below. */
function startNode(ground: Ground, closing: (() => Promise<void>)[]): Watched {
  const command = [process.execPath, '--eval', 'setInterval(() => {}, 2 ** 30)']
  const node = ground.keep(new LoggedProcess('node', command))
  closing.push(() => end(node))
  return { what: 'node with nothing to do', pid: node.pid }
}

import { setTimeout as sleep } from 'node:timers/promises'
import { mono } from '../harness/wait.ts'
import type { Side } from './contest.ts'
import { Contest } from './contest.ts'
import { percentileAtMost, type Row, ratio, type Section } from './report.ts'
import type { Sizes } from './sizes.ts'
import type { Testbed } from './testbed.ts'
import { say } from './testbed.ts'

const CANDIDATES = 3
/** One retry period: so the end meets a leader at every point between two renewals. */
const SPREAD_MS = 2_000

/** All in ms. */
interface Handover {
  /** Receipt of the released record -> receipt of the next holder's, by the bench's watch. */
  readonly seen: number
  /** The old leader's own log -> the new one's. */
  readonly logged: number
  /** SIGTERM -> receipt of the next holder's record. */
  readonly whole: number
}

async function handOver(contest: Contest): Promise<Handover> {
  const { watch } = contest
  await sleep(Math.random() * SPREAD_MS)
  const old = contest.leader()
  const from = watch.length
  const told = mono()
  old.process.signal('SIGTERM')
  const released = await watch.next('a released Lease', ({ holder }) => holder === '', from)
  const taken = await watch.next('the next holder', ({ holder }) => holder !== '', released.index)
  const next = contest.candidate(taken.holder)
  const logged = (await next.acquired()) - (await old.released())
  await next.leads()
  await contest.replace(old)
  return { seen: taken.at - released.at, logged, whole: taken.at - told }
}

/** Ends leaders of both sides in turn, the peer's spread evenly among ours. */
export async function measureHandovers(
  testbed: Testbed,
  ours: Side,
  peer: Side | string,
  sizes: Sizes['handovers'],
): Promise<Section> {
  const measured = { ours: [] as Handover[], peer: [] as Handover[] }
  const open: Contest[] = []
  let failure: string | undefined
  try {
    const own = await Contest.open(testbed, ours, CANDIDATES)
    open.push(own)
    const other = typeof peer === 'string' ? undefined : await Contest.open(testbed, peer, CANDIDATES)
    if (other) open.push(other)
    for (let n = 1; n <= sizes.ours; n++) {
      measured.ours.push(await handOver(own))
      say(`handover ${n}/${sizes.ours}: ${measured.ours.at(-1)?.seen.toFixed(1)} ms`)
      if (!other || measured.peer.length >= Math.floor((n / sizes.ours) * sizes.peer)) continue
      measured.peer.push(await handOver(other))
      say(
        `handover of client-go ${measured.peer.length}/${sizes.peer}: ${measured.peer.at(-1)?.seen.toFixed(1)} ms`,
      )
    }
  } catch (error) {
    failure = (error as Error).message
  }
  await Promise.all(open.map((contest) => contest.close()))
  return section(measured, typeof peer === 'string' ? peer : undefined, failure)
}

function section(
  { ours, peer }: Record<'ours' | 'peer', readonly Handover[]>,
  notMeasured: string | undefined,
  failure: string | undefined,
): Section {
  const rows = (name: string, all: readonly Handover[], target: Pick<Row, 'target'>): Row[] => [
    {
      what: `${name}: released → next holder, by watch`,
      unit: 'ms',
      values: all.map((one) => one.seen),
      ...target,
    },
    {
      what: `${name}: released → next holder, by log`,
      unit: 'ms',
      values: all.map((one) => one.logged),
      ...target,
    },
    { what: `${name}: SIGTERM → next holder, by watch`, unit: 'ms', values: all.map((one) => one.whole) },
  ]
  const seen = (all: readonly Handover[]) => all.map((one) => one.seen)
  const whole = (all: readonly Handover[]) => all.map((one) => one.whole)
  return {
    title: 'Clean handover',
    shape: 'spread',
    about: [
      `${CANDIDATES} candidates; SIGTERM to the leader at a random moment of its renewal period; another is started in its place. Default timings (15 s, 10 s, 2 s). The two contenders take turns in one run.`,
      '**by watch**: the bench’s own watch on the Lease received the released record, then the next holder’s. Monotonic clock, and nothing of either contender.',
      '**by log**: from `released` to `acquired` (client-go: `stopped_leading` to `started_leading`) in the candidates’ own logs: one wall clock, ours at a resolution of 1 ms.',
      '**SIGTERM → next holder** contains what comes before the release. langflow-leader stops its workload and confirms that first; the peer is measured without a workload and releases at once.',
    ],
    rows: [
      ...rows('langflow-leader', ours, { target: percentileAtMost(99, 100, 'ms') }),
      ...(notMeasured === undefined ? rows('client-go', peer, {}) : []),
    ],
    notes: [
      ...(notMeasured === undefined ? [] : [`client-go was not measured: ${notMeasured}.`]),
      ...ratio('released → next holder', seen(ours), seen(peer)),
      ...ratio('SIGTERM → next holder', whole(ours), whole(peer)),
    ],
    ...(failure === undefined ? {} : { failure }),
  }
}

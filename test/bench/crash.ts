import { setTimeout as sleep } from 'node:timers/promises'
import type { Side } from './contest.ts'
import { Contest } from './contest.ts'
import { atMost, type Row, ratio, type Section } from './report.ts'
import type { Crashes, Sizes } from './sizes.ts'
import type { Testbed } from './testbed.ts'
import { say } from './testbed.ts'

const CANDIDATES = 2
/** A fresh follower sees at least one renewal before the crash, ... */
const SETTLE_MS = 2_500
/** ... which comes at any point of the leader's renewal period, and staggers the Leases. */
const SPREAD_MS = 4_000
const LIMIT_MS = 15_300

/** Milliseconds from the receipt of the last renewal to that of the next holder's record. */
async function crash(contest: Contest): Promise<number> {
  const { watch } = contest
  await sleep(SETTLE_MS + Math.random() * SPREAD_MS)
  const old = contest.leader()
  const from = watch.length
  old.kill()
  const taken = await watch.next('the next holder', ({ holder }) => holder !== old.identity, from)
  const last = watch.versions[taken.index - 1]
  if (last === undefined) throw new Error('the old holder’s last renewal was not seen')
  await contest.candidate(taken.holder).leads()
  await contest.replace(old)
  return taken.at - last.at
}

async function crashes(testbed: Testbed, side: Side, { rounds }: Crashes, measured: number[]): Promise<void> {
  const contest = await Contest.open(testbed, side, CANDIDATES)
  try {
    for (let n = 0; n < rounds; n++) {
      const took = await crash(contest)
      measured.push(took)
      say(
        `crash of ${side.name}, ${measured.length}. taken over ${(took / 1000).toFixed(2)} s after the last renewal`,
      )
    }
  } finally {
    await contest.close()
  }
}

/** Kills whole leaders on independent Leases, all at once. */
export async function measureCrashes(
  testbed: Testbed,
  ours: Side,
  peer: Side | string,
  sizes: Sizes['crashes'],
): Promise<Section> {
  const measured = { ours: [] as number[], peer: [] as number[] }
  const each = (side: Side, plan: Crashes, into: number[]) =>
    Array.from({ length: plan.leases }, () => crashes(testbed, side, plan, into))
  const ended = await Promise.allSettled([
    ...each(ours, sizes.ours, measured.ours),
    ...(typeof peer === 'string' ? [] : each(peer, sizes.peer, measured.peer)),
  ])
  const failures = ended.flatMap((one) => (one.status === 'rejected' ? [(one.reason as Error).message] : []))
  return section(measured, sizes, typeof peer === 'string' ? peer : undefined, failures)
}

function section(
  { ours, peer }: Record<'ours' | 'peer', readonly number[]>,
  sizes: Sizes['crashes'],
  notMeasured: string | undefined,
  failures: readonly string[],
): Section {
  const row = (name: string, values: readonly number[]): Row => ({
    what: `${name}: last renewal → next holder`,
    unit: 'ms',
    values,
  })
  return {
    title: 'Crash takeover',
    shape: 'spread',
    about: [
      `SIGKILL to every process of the leader (agent, launcher, workload) at a random moment; ${CANDIDATES} candidates on each of ${sizes.ours.leases} independent Leases (client-go: ${sizes.peer.leases}), all at once, default timings.`,
      'From the last renewal to the next holder’s record, both as received by the bench’s own watch. A Lease of 15 s cannot be taken earlier.',
    ],
    rows: [
      { ...row('langflow-leader', ours), target: atMost(LIMIT_MS, 'ms') },
      ...(notMeasured === undefined ? [row('client-go', peer)] : []),
    ],
    notes: [
      ...(notMeasured === undefined ? [] : [`client-go was not measured: ${notMeasured}.`]),
      ...ratio('last renewal → next holder', ours, peer),
    ],
    ...(failures[0] === undefined ? {} : { failure: failures[0] }),
  }
}

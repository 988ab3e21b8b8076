import { setTimeout as sleep } from 'node:timers/promises'
import { Contest, killWhole, type Side } from './contest.ts'
import { atMost, measured, type Row, ratio, type Section, spread } from './report.ts'
import { say, type Testbed } from './testbed.ts'

const CANDIDATES = 2
/** Long enough for a new follower to see at least one renewal before the crash. */
const SETTLE_MS = 2_500
/** Random extra time, so that crashes come at any point of the renewal period, and at different times on each Lease. */
const SPREAD_MS = 4_000

/** Each Lease has two candidates, and all Leases run at the same time. */
interface Crashes {
  readonly leases: number
  readonly rounds: number
}

/** Kills whole leaders on independent Leases at the same time. */
export async function measureCrashes(
  testbed: Testbed,
  ours: Side,
  peer: Side | undefined,
  counts: Readonly<Record<'ours' | 'peer', Crashes>>,
): Promise<Section> {
  const rowOf = ({ name }: Side, target?: ReturnType<typeof atMost>) =>
    spread(`${name}: last renewal → next holder`, 'ms', target)
  const own = rowOf(ours, atMost(15_300, 'ms'))
  const other = peer && rowOf(peer)
  const section: Section = {
    title: 'Crash takeover',
    about: [
      `SIGKILL to every process of the leader (agent, launcher, workload) at a random moment; ${CANDIDATES} candidates on each of ${counts.ours.leases} independent Leases (client-go: ${counts.peer.leases}), all at the same time, with default timings.`,
      'The time from the last renewal to the next holder’s record, both as received by the benchmark’s own watch. With a lease duration of 15 s, no candidate may take the Lease earlier.',
    ],
    rows: [own, ...(other ? [other] : [])],
    notes: [],
  }
  const each = (side: Side, { leases, rounds }: Crashes, row: Row) =>
    Array.from({ length: leases }, () =>
      Contest.play(testbed, side, CANDIDATES, async (contest) => {
        for (let n = 0; n < rounds; n++) {
          row.values.push(await crash(contest))
          say(
            `crash of ${side.name} ${row.values.length}/${leases * rounds}: ${row.values.at(-1)?.toFixed(0)} ms`,
          )
        }
      }),
    )
  await measured(section, async () => {
    const all = [...each(ours, counts.ours, own), ...(peer && other ? each(peer, counts.peer, other) : [])]
    // Waits for all contests, even if one of them fails.
    await Promise.allSettled(all)
    await Promise.all(all)
  })
  section.notes.push(...ratio('last renewal → next holder', own, other))
  return section
}

/** Milliseconds from the receipt of the last renewal to the receipt of the next holder's record. */
async function crash(contest: Contest): Promise<number> {
  const { watch } = contest.arena
  await sleep(SETTLE_MS + Math.random() * SPREAD_MS)
  const old = contest.leader()
  const from = watch.length
  killWhole(old)
  const { taken } = await contest.succeeded(old, from)
  return taken.at - watch.versions[taken.index - 1]!.at
}

import { setTimeout as sleep } from 'node:timers/promises'
import { mono } from '../harness/wait.ts'
import { Contest, type Side } from './contest.ts'
import { measured, percentileAtMost, ratio, type Section, spread } from './report.ts'
import { say, type Testbed } from './testbed.ts'

const CANDIDATES = 3
/** One retry period, so that the signal arrives at any point between two renewals. */
const SPREAD_MS = 2_000

function rowsOf({ name }: Side, target?: ReturnType<typeof percentileAtMost>) {
  return {
    seen: spread(`${name}: released → next holder, by watch`, 'ms', target),
    logged: spread(`${name}: released → next holder, by log`, 'ms', target),
    whole: spread(`${name}: SIGTERM → next holder, by watch`, 'ms'),
  }
}

/** Ends leaders of both sides in turn. The peer's handovers are spread evenly among ours. */
export async function measureHandovers(
  testbed: Testbed,
  ours: Side,
  peer: Side | undefined,
  counts: { readonly ours: number; readonly peer: number },
): Promise<Section> {
  const own = rowsOf(ours, percentileAtMost(99, 100, 'ms'))
  const other = peer && rowsOf(peer)
  const section: Section = {
    title: 'Clean handover',
    about: [
      `${CANDIDATES} candidates with default timings (15 s, 10 s, 2 s). The leader gets a SIGTERM at a random moment of its renewal period, and a new candidate is started in its place. The two sides take turns in one run.`,
      '**by watch**: the time between the released record and the next holder’s record, as received by the benchmark’s own watch, on the monotonic clock. The watch uses no code of either side.',
      '**by log**: from `released` to `acquired` (client-go: `stopped_leading` to `started_leading`) in the candidates’ own logs, on one wall clock. Our log has a resolution of 1 ms.',
      '**SIGTERM → next holder** includes the time before the release. langflow-leader first stops its workload and confirms the stop. The peer has no workload and releases immediately.',
    ],
    rows: [...Object.values(own), ...Object.values(other ?? {})],
    notes: [],
  }
  const playOther = (play: (contest?: Contest) => Promise<void>) =>
    peer ? Contest.play(testbed, peer, CANDIDATES, play) : play()
  await measured(section, () =>
    Contest.play(testbed, ours, CANDIDATES, (contest) =>
      playOther(async (against) => {
        for (let n = 1; n <= counts.ours; n++) {
          await handOver(contest, own)
          say(`handover ${n}/${counts.ours}: ${own.seen.values.at(-1)?.toFixed(1)} ms`)
          if (!against || !other || other.seen.values.length >= Math.floor((n / counts.ours) * counts.peer))
            continue
          await handOver(against, other)
          say(`handover of client-go: ${other.seen.values.at(-1)?.toFixed(1)} ms`)
        }
      }),
    ),
  )
  section.notes.push(...ratio('released → next holder', own.seen, other?.seen))
  section.notes.push(...ratio('SIGTERM → next holder', own.whole, other?.whole))
  return section
}

async function handOver(contest: Contest, { seen, logged, whole }: ReturnType<typeof rowsOf>): Promise<void> {
  const { watch } = contest.arena
  await sleep(Math.random() * SPREAD_MS)
  const old = contest.leader()
  const from = watch.length
  const signalledAt = mono()
  old.signal('SIGTERM')
  const released = await watch.next('a released Lease', ({ holder }) => holder === '', from)
  const { taken, next } = await contest.succeeded(old, released.index)
  seen.values.push(taken.at - released.at)
  logged.values.push((await contest.loggedAt(next, 'acquired')) - (await contest.loggedAt(old, 'released')))
  whole.values.push(taken.at - signalledAt)
}

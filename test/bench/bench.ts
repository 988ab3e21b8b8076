// usage: node test/bench/bench.ts [--quick] [--out FILE]
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { machineFacts } from '../support/machine.ts'
import { measureCrashes } from './crash.ts'
import { Ground } from './ground.ts'
import { measureHandovers } from './handover.ts'
import { OurSide } from './ours.ts'
import { overlapSection } from './overlap.ts'
import { keepingPart } from './page-part.ts'
import { buildPeer, PeerSide } from './peer.ts'
import { peerFact } from './peer-fact.ts'
import { say } from './progress.ts'
import { markdown, type Report, shortcomings } from './report.ts'
import type { Section } from './row.ts'
import { FULL, QUICK, type Sizes } from './sizes.ts'
import { measureStandbys } from './standby.ts'
import { measureStarts } from './start.ts'
import { measureSteady } from './steady.ts'
import { steadySections } from './steady-sections.ts'
import { TAKEOVER_PART } from './takeover/page.ts'

const USAGE = 'usage: node test/bench/bench.ts [--quick] [--out FILE]'

function parse(): { quick: boolean; out: string | undefined } {
  try {
    const { values } = parseArgs({ options: { quick: { type: 'boolean' }, out: { type: 'string' } } })
    // Not only after ten minutes.
    if (values.out !== undefined) accessSync(dirname(values.out), constants.W_OK)
    return { quick: values.quick ?? false, out: values.out }
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}\n`)
    process.exit(2)
  }
}

async function measure(ground: Ground, sizes: Sizes, quick: boolean): Promise<Report> {
  say('building the peer')
  const built = await buildPeer(ground)
  if (typeof built === 'string') say(`client-go is not measured: ${built}`)
  const peer = typeof built === 'string' ? built : new PeerSide(ground, built)
  const ours = new OurSide(ground)
  const facts = [...machineFacts(), peerFact(built)]
  const handovers = await measureHandovers(ground, ours, peer, sizes.handovers)
  const crashes = await measureCrashes(ground, ours, peer, sizes.crashes)
  const steady = await steadily(ground, ours, peer, sizes)
  const starts = await measureStarts(ground, sizes.starts)
  const standbys = await measureStandbys(ground, sizes.standbys)
  const overlap = overlapSection(ours.beats, expectedTerms(sizes))
  return { facts, sections: [handovers, crashes, overlap, ...steady, starts, standbys], quick }
}

async function steadily(
  ground: Ground,
  ours: OurSide,
  peer: PeerSide | string,
  sizes: Sizes,
): Promise<Section[]> {
  const notes = typeof peer === 'string' ? [`client-go was not measured: ${peer}.`] : []
  try {
    return steadySections(await measureSteady(ground, ours, peer, sizes.steady), sizes.steady, notes)
  } catch (error) {
    const failure = (error as Error).message
    return [{ title: 'Load, memory and CPU', shape: 'figure', about: [], rows: [], notes, failure }]
  }
}

/** Each Lease has a first term, and each takeover begins another. */
function expectedTerms({ handovers, crashes }: Sizes): number {
  return 1 + handovers.ours + crashes.ours.leases * (1 + crashes.ours.rounds) + 1
}

async function main(): Promise<void> {
  const { quick, out } = parse()
  const sizes = quick ? QUICK : FULL
  const ground = await Ground.open().catch((error: Error) => {
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  })
  const giveUp = (why: string, code: number) => {
    process.stderr.write(`${why}: ending what was started\n`)
    void ground.close().finally(() => process.exit(code))
  }
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.once(signal, () => giveUp(signal, code))
  const bound = setTimeout(
    () => giveUp(`not done after ${sizes.boundMinutes} minutes`, 1),
    sizes.boundMinutes * 60_000,
  )
  let report: Report
  try {
    report = await measure(ground, sizes, quick)
  } finally {
    await ground.close()
    clearTimeout(bound)
  }
  const text = markdown(report)
  if (out === undefined) process.stdout.write(text)
  else writeFileSync(out, keepingPart(text, existsSync(out) ? readFileSync(out, 'utf8') : '', TAKEOVER_PART))
  const wrong = shortcomings(report.sections)
  say(wrong.length === 0 ? 'every target was met' : `missed:\n${wrong.join('\n')}`)
  // Not left to the end of the last timer of a patience that is no longer needed.
  process.exit(wrong.length === 0 ? 0 : 1)
}

await main()

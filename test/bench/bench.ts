// usage: node test/bench/bench.ts [--quick] [--out FILE]
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { keepingPart, machineFacts } from '../harness/report.ts'
import { measureCrashes } from './crash.ts'
import { measureHandovers } from './handover.ts'
import { OurSide } from './ours.ts'
import { overlapSection } from './overlap.ts'
import { buildPeer, PeerSide, peerFact } from './peer.ts'
import type { Section } from './report.ts'
import { markdown, type Report, shortcomings } from './report.ts'
import { FULL, QUICK, type Sizes } from './sizes.ts'
import { measureStandbys } from './standby.ts'
import { measureStarts } from './start.ts'
import { measureSteady, steadySections } from './steady.ts'
import { TAKEOVER_PART } from './takeover/page.ts'
import { say, Testbed } from './testbed.ts'

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

async function measure(testbed: Testbed, sizes: Sizes, quick: boolean): Promise<Report> {
  say('building the peer')
  const built = await buildPeer(testbed)
  if (typeof built === 'string') say(`client-go is not measured: ${built}`)
  const peer = typeof built === 'string' ? built : new PeerSide(testbed, built)
  const ours = new OurSide(testbed)
  const facts = [...machineFacts(), peerFact(built)]
  const handovers = await measureHandovers(testbed, ours, peer, sizes.handovers)
  const crashes = await measureCrashes(testbed, ours, peer, sizes.crashes)
  const steady = await steadily(testbed, ours, peer, sizes)
  const starts = await measureStarts(testbed, sizes.starts)
  const standbys = await measureStandbys(testbed, sizes.standbys)
  const overlap = overlapSection(ours.beats, expectedTerms(sizes))
  return { facts, sections: [handovers, crashes, overlap, ...steady, starts, standbys], quick }
}

async function steadily(
  testbed: Testbed,
  ours: OurSide,
  peer: PeerSide | string,
  sizes: Sizes,
): Promise<Section[]> {
  const notes = typeof peer === 'string' ? [`client-go was not measured: ${peer}.`] : []
  try {
    return steadySections(await measureSteady(testbed, ours, peer, sizes.steady), sizes.steady, notes)
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
  const testbed = await Testbed.open().catch((error: Error) => {
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  })
  testbed.endOnSignals()
  const bound = setTimeout(
    () => testbed.giveUp(`not done after ${sizes.boundMinutes} minutes`, 1),
    sizes.boundMinutes * 60_000,
  )
  let report: Report
  try {
    report = await measure(testbed, sizes, quick)
  } finally {
    await testbed.close()
    clearTimeout(bound)
  }
  const text = markdown(report)
  if (out === undefined) process.stdout.write(text)
  else writeFileSync(out, keepingPart(text, existsSync(out) ? readFileSync(out, 'utf8') : '', TAKEOVER_PART))
  const wrong = shortcomings(report.sections)
  say(wrong.length === 0 ? 'every target was met' : `missed:\n${wrong.join('\n')}`)
  // Not left to the end of the last timer of a wait that is over.
  process.exit(wrong.length === 0 ? 0 : 1)
}

await main()

// usage: node test/bench/bench.ts --help
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { BUNDLE } from '../harness/bundle.ts'
import { LANGFLOW_MISSING, langflowBinary } from '../harness/langflow.ts'
import { machineFacts } from '../harness/report.ts'
import { buildPeer, ourSide } from './contest.ts'
import { measureCrashes } from './crash.ts'
import { FRONT_PART, frontText, measureFront } from './front.ts'
import { measureHandovers } from './handover.ts'
import { overlapSection } from './overlap.ts'
import { keepingPart, withPart } from './page-parts.ts'
import { markdown, OVERLOAD_PART, RELEASE_PART, type Section, shortcomings } from './report.ts'
import { measureStandbys } from './standby.ts'
import { measureStarts } from './start.ts'
import { measureSteady } from './steady.ts'
import { say, Testbed } from './testbed.ts'

const USAGE = `usage: npm run bench -- [--quick]
       npm run bench:front -- [--quick]

The first measures the elector and, for comparison, the one of client-go. It includes the second, which measures the cost of
the front and, for comparison, of HAProxy.

  --quick         run a short check that the benchmark works
  --out FILE      write the result into this Markdown page; its directory must exist
  --main FILE     measure this program instead of dist/langflow-leader.mjs
  --help          show this

Exit codes: 0 if every target was met, 1 if a target was missed or a measurement failed, 2 for wrong usage or if this machine
can't run the benchmark, 130 if interrupted.`

/** The amount of measurements. The peer's handovers are spread evenly among ours; `standbys` counts for each mode. */
const FULL = {
  handovers: { ours: 100, peer: 20 },
  crashes: { ours: { leases: 4, rounds: 5 }, peer: { leases: 2, rounds: 4 } },
  steady: { settleMs: 60_000, windowMs: 60_000, sampleMs: 5_000 },
  starts: 20,
  standbys: 5,
  front: {
    rounds: 3,
    warmMs: 10_000,
    idleMs: 3_000,
    pacedMs: 3_000,
    closedMs: 2_000,
    uploads: 3,
    uploadBytes: 200e6,
    windowMs: 10_000,
  },
}

/** A short check that the benchmark works. Its numbers mean little. */
const QUICK: typeof FULL = {
  handovers: { ours: 4, peer: 2 },
  crashes: { ours: { leases: 2, rounds: 1 }, peer: { leases: 1, rounds: 1 } },
  steady: { settleMs: 4_000, windowMs: 10_000, sampleMs: 2_000 },
  starts: 3,
  standbys: 1,
  front: {
    rounds: 1,
    warmMs: 500,
    idleMs: 500,
    pacedMs: 500,
    closedMs: 500,
    uploads: 1,
    uploadBytes: 20e6,
    windowMs: 2_000,
  },
}

/** Throws if the command line is wrong. */
function parse() {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const options = {
    out: text,
    main: text,
    quick: flag,
    help: flag,
  } as const
  const { values, positionals } = parseArgs({ options, allowPositionals: true })
  if (values.help) {
    process.stdout.write(`${USAGE}\n`)
    process.exit(0)
  }
  const { out, main = BUNDLE, quick = false } = values
  // Checked here, because otherwise the error would come only after an hour of measurements.
  if (out !== undefined) accessSync(dirname(out), constants.W_OK)
  if (!existsSync(main)) throw new Error(`${main} doesn't exist; run \`npm run build\` first`)
  return { out, main, quick, front: positionals[0] === 'front' }
}

/** A page or a part of one, and the sections that it shows. */
interface Result {
  readonly text: string
  readonly sections: Section[]
}

async function measureFrontAlone(testbed: Testbed, quick: boolean): Promise<Result> {
  const sections = await measureFront(testbed, (quick ? QUICK : FULL).front)
  return { text: frontText(machineFacts(), sections, quick), sections }
}

/** Measures the whole page, except what other benches write. */
async function measure(testbed: Testbed, quick: boolean): Promise<Result> {
  const sizes = quick ? QUICK : FULL
  const built = await buildPeer(testbed).catch((error: Error) => error.message)
  const peer = typeof built === 'string' ? undefined : built
  const fact = typeof built === 'string' ? (['client-go', `not measured: ${built}`] as const) : built.fact
  say(fact.join(': '))
  const ours = ourSide(testbed)
  const handovers = await measureHandovers(testbed, ours, peer, sizes.handovers)
  const crashes = await measureCrashes(testbed, ours, peer, sizes.crashes)
  const steady = await measureSteady(testbed, ours, peer, sizes.steady)
  const starts = await measureStarts(testbed, sizes.starts)
  const sections = [handovers, crashes, ...steady, starts]
  if (langflowBinary() === undefined) say(`the start of LangFlow is not measured: ${LANGFLOW_MISSING}`)
  else sections.push(await measureStandbys(testbed, sizes.standbys))
  // Each Lease has a first term, and each takeover begins another one.
  const { leases, rounds } = sizes.crashes.ours
  const terms = 1 + sizes.handovers.ours + leases * (1 + rounds) + 1
  sections.splice(2, 0, overlapSection(ours.beats, terms))
  const page = markdown([...machineFacts(), fact], sections, quick)
  const front = await measureFrontAlone(testbed, quick)
  return { text: withPart(page, FRONT_PART, front.text), sections: [...sections, ...front.sections] }
}

async function main(): Promise<number> {
  let options: ReturnType<typeof parse>
  let testbed: Testbed
  try {
    options = parse()
    testbed = await Testbed.open(options.main)
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return 2
  }
  const { out, front, quick } = options
  const { text, sections } = await (front
    ? measureFrontAlone(testbed, quick)
    : measure(testbed, quick)
  ).finally(() => testbed.close())
  const page = out !== undefined && existsSync(out) ? readFileSync(out, 'utf8') : ''
  if (out === undefined) process.stdout.write(`${text}\n`)
  else if (front) writeFileSync(out, withPart(page, FRONT_PART, text))
  else {
    const others = [RELEASE_PART, OVERLOAD_PART]
    writeFileSync(
      out,
      others.reduce((kept, other) => keepingPart(kept, page, other), text),
    )
  }
  const wrong = shortcomings(sections)
  say(wrong.length === 0 ? 'every target was met' : `missed:\n${wrong.join('\n')}`)
  return wrong.length === 0 ? 0 : 1
}

// Exits here, because pending timers of finished waits would delay the exit.
process.exit(await main())

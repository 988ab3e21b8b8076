import type { Pod } from '../../harness/pod.ts'
import type { Postgres } from '../../harness/postgres.ts'
import { say } from '../testbed.ts'
import type { Measured } from './page.ts'
import { Pair, type Shared } from './pair.ts'
import { playRound, type Round } from './round.ts'
import {
  appliesTo,
  DEFAULT,
  FAST,
  FAULT,
  FAULTS,
  type FaultName,
  type Mode,
  type Preset,
} from './settings.ts'

/** What is to be measured. */
export interface Options {
  readonly rounds: number
  readonly modes: readonly Mode[]
  readonly faults: readonly FaultName[]
  /** `undefined`: both, the fast one only where the length of the Lease decides. */
  readonly preset: Preset | undefined
}

/** Where the fast preset is measured beside the default one: there the length of the Lease decides. */
const FAST_AS_WELL: readonly FaultName[] = ['replica', 'api']

/** What is shown of a log where a measurement breaks off. */
const LAST_LINES = 20

/** What is measured of one fault under one preset. */
interface Sheet {
  readonly fault: FaultName
  readonly preset: Preset
  readonly rounds: Map<Mode, Round[]>
  failure?: string
}

/** A replica that has lost its worker campaigns later each time: new replicas come before that takes minutes. */
const ROUNDS_A_PAIR = 3

/** Replicas for each mode and preset, and each fault in turn, until there are as many rounds as are wanted. Modes take turns. */
export async function measureTakeovers(
  shared: Shared,
  postgres: Postgres,
  options: Options,
): Promise<Measured[]> {
  const sheets = sheetsFor(options)
  const presets = [...new Set(sheets.map(({ preset }) => preset))]
  for (let left = options.rounds; left > 0; left -= ROUNDS_A_PAIR) {
    for (const mode of options.modes) {
      for (const preset of presets) {
        const mine = sheets.filter((sheet) => sheet.preset === preset && appliesTo(sheet.fault, mode))
        if (mine.length > 0) await measureMode(shared, postgres, mode, mine, Math.min(left, ROUNDS_A_PAIR))
      }
    }
  }
  return sheets
}

/** In the order of the page. */
function sheetsFor({ faults, preset }: Options): Sheet[] {
  return FAULTS.filter((fault) => faults.includes(fault)).flatMap((fault) => {
    const presets = preset ? [preset] : FAST_AS_WELL.includes(fault) ? [DEFAULT, FAST] : [DEFAULT]
    return presets.map((one) => ({ fault, preset: one, rounds: new Map() }))
  })
}

/** A fault that fails ends this: nobody knows what the pair is up to. */
async function measureMode(
  shared: Shared,
  postgres: Postgres,
  mode: Mode,
  sheets: readonly Sheet[],
  rounds: number,
): Promise<void> {
  let pair: Pair | undefined
  let current = sheets[0]
  try {
    say(`${mode}, ${sheets[0]?.preset.name}: starting replicas`)
    pair = await Pair.open(shared, mode, sheets[0]!.preset, await postgres.newDatabase())
    for (let n = 1; n <= rounds; n++) {
      for (const sheet of sheets) {
        current = sheet
        const round = await playRound(pair, sheet.fault, shared.testbed.plane)
        const played = [...(sheet.rounds.get(mode) ?? []), round]
        sheet.rounds.set(mode, played)
        say(`${mode}, ${sheet.preset.name}: ${FAULT[sheet.fault].short} ${played.length}: ${inWords(round)}`)
      }
    }
  } catch (error) {
    const { message } = error as Error
    current!.failure = [current!.failure ?? [], `${mode}: ${message}`].flat().join('\n')
    say(`${mode}: ${current!.fault} broke off: ${message}`)
    for (const pod of pair?.pods ?? []) process.stderr.write(endOfLogs(pod))
  } finally {
    await pair?.close()
  }
}

function endOfLogs({ agent, container }: Pod): string {
  const ends = [agent, container].flatMap(({ name, output }) => [`-- ${name}:`, ...output.slice(-LAST_LINES)])
  return `${ends.join('\n')}\n`
}

function inWords({ outageMs, calls, phases }: Round): string {
  const parts = Object.entries(phases).map(([phase, ms]) => `${phase} ${Math.round(ms)}`)
  const failed = `${calls.failed} of ${calls.sent} failed`
  return [`${outageMs.toFixed(0)} ms`, failed, ...(parts.length === 0 ? [] : [parts.join(', ')])].join('; ')
}

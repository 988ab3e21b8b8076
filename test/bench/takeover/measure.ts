import { execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { LANGFLOW_MISSING, LangflowScene, langflowBinary } from '../../harness/langflow.ts'
import { podObstacle } from '../../harness/pod.ts'
import { postgresMissing, startPostgres } from '../../harness/postgres.ts'
import { type Fact, machineFacts } from '../../harness/report.ts'
import type { Section } from '../report.ts'
import { say, type Testbed } from '../testbed.ts'
import { FAULTS, type FaultName, type Mode } from './faults.ts'
import { type Measured, partText, sectionOf } from './page.ts'
import { Pair } from './pair.ts'
import { playRound, type Round } from './round.ts'

/** The measurements to make. */
export interface Takeovers {
  readonly rounds: number
  readonly modes: readonly Mode[]
  readonly faults: readonly FaultName[]
}

/** Number of log lines to print if a measurement fails. */
const LAST_LINES = 20
/** A replica that lost its worker waits longer before each campaign. New replicas replace it before that takes minutes. */
const ROUNDS_A_PAIR = 3

/** Why this machine can't run the measurement, or `undefined` if it can. */
export function takeoverObstacle(): string | undefined {
  return langflowBinary() === undefined ? LANGFLOW_MISSING : (postgresMissing() ?? podObstacle())
}

/** Starts replicas for each mode and each set of Lease timings, and causes each fault in turn, for all rounds. */
export async function measureTakeovers(
  testbed: Testbed,
  { rounds, modes, faults }: Takeovers,
): Promise<{ text: string; sections: Section[] }> {
  const measured: Measured[] = faults.map((name) => ({ name, fault: FAULTS[name], rounds: new Map() }))
  const postgres = await startPostgres()
  const facts = await testbed.using(
    () => postgres.close(),
    async () => {
      for (let left = rounds; left > 0; left -= ROUNDS_A_PAIR)
        for (const mode of modes)
          for (const isFast of [false, true]) {
            const mine = measured.filter(({ fault }) => (fault.isFast ?? false) === isFast)
            if (mine.length === 0) continue
            say(`${mode}, ${mine.map(({ name }) => name).join(', ')}: starting replicas`)
            const scene = await LangflowScene.open(testbed.plane)
            const database = await postgres.newDatabase()
            const pair = new Pair({ testbed, scene, mode, isFast, database })
            const play = () => playAll(pair, mine, Math.min(left, ROUNDS_A_PAIR))
            await testbed.using(() => pair.close(), play)
          }
      return [...machineFacts(), ...versions(await postgres.sql('SHOW server_version'))]
    },
  )
  return { text: partText(facts, rounds, measured), sections: measured.map(sectionOf) }
}

/** Plays all faults in turn. A failed fault ends this, because the state of the pair is then unknown. */
async function playAll(pair: Pair, all: readonly Measured[], rounds: number): Promise<void> {
  const { mode } = pair.options
  let current = all[0]!
  try {
    await pair.start()
    for (let n = 1; n <= rounds; n++)
      for (const one of all) {
        current = one
        const round = await playRound(pair, one.fault)
        const played = [...(one.rounds.get(mode) ?? []), round]
        one.rounds.set(mode, played)
        say(`${mode}: ${one.name} ${played.length}: ${inWords(round)}`)
      }
  } catch (error) {
    const { message } = error as Error
    current.failure = [current.failure ?? [], `${mode}: ${message}`].flat().join('\n')
    say(`${mode}: ${current.name} failed: ${message}`)
    for (const { agent, container } of pair.pods)
      for (const { name, output } of [agent, container])
        process.stderr.write(`${[`-- ${name}:`, ...output.slice(-LAST_LINES)].join('\n')}\n`)
  }
}

function inWords({ outageMs, sent, failed, phases }: Round): string {
  const parts = Object.entries(phases).map(([phase, ms]) => `${phase} ${Math.round(ms)}`)
  return [`${outageMs.toFixed(0)} ms`, `${failed} of ${sent} failed`, parts.join(', ')].join('; ')
}

function versions(postgres: string): Fact[] {
  const python = join(dirname(langflowBinary() as string), 'python')
  const asked = "from importlib.metadata import version; print(version('langflow-base'))"
  const langflow = execFileSync(python, ['-c', asked], { encoding: 'utf8' }).trim()
  return [
    ['LangFlow', `langflow-base ${langflow}, one worker`],
    ['PostgreSQL', `${postgres}, without fsync`],
  ]
}

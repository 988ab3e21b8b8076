import { accessSync, constants, existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { BUNDLE } from '../../support/bundle.ts'
import { FAULTS, type FaultName } from './faults.ts'
import { MODES, type Mode, PRESETS, type Preset } from './settings.ts'

const ROUNDS = 3
const MOST_ROUNDS = 100

export const USAGE = `usage: npm run bench:takeover -- [--rounds N] [--modes LIST] [--faults LIST] [--preset NAME]

Two replicas of a real LangFlow on a real PostgreSQL and a real API server, a client that runs a flow ten times a
second, and one fault after the other.

  --rounds N      how often each fault comes, from 1 to ${MOST_ROUNDS} (default: ${ROUNDS})
  --modes LIST    of ${MODES.join(',')} (default: all)
  --faults LIST   of ${FAULTS.join(',')} (default: all)
  --preset NAME   ${PRESETS.map(({ name, text }) => `${name} (${text})`).join(' or ')}; without it the default one, and the
                  fast one as well for replica and api
  --out FILE      put the result into this Markdown page, and its plot beside it, in a directory that exists
  --main FILE     the program to measure instead of dist/langflow-leader.mjs, to compare two
  --help          show this

Exit code 0: every target was met; 1: one was missed, or a measurement broke off; 2: wrong usage, or nothing can be
measured here; 130: interrupted.`

export interface Options {
  readonly rounds: number
  readonly modes: readonly Mode[]
  readonly faults: readonly FaultName[]
  /** `undefined`: both, the fast one only where the length of the Lease decides. */
  readonly preset: Preset | undefined
  readonly out: string | undefined
  readonly main: string
}

/** What a person typed wrong, in one sentence that says what to change. */
export class UsageError extends Error {}

/** `'help'`: that is all that is wanted. Throws `UsageError`. */
export function parseOptions(args: readonly string[]): Options | 'help' {
  const values = parse(args)
  if (values.help) return 'help'
  const { out, main = BUNDLE } = values
  if (out !== undefined) mustBeWritable(dirname(out))
  if (!existsSync(main)) throw new UsageError(`there is no ${main}: run \`npm run build\` first`)
  return {
    rounds: roundsOf(values.rounds),
    modes: listOf('modes', MODES, values.modes),
    faults: listOf('faults', FAULTS, values.faults),
    preset: presetOf(values.preset),
    out,
    main,
  }
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const
  const options = {
    rounds: text,
    modes: text,
    faults: text,
    preset: text,
    out: text,
    main: text,
    help: { type: 'boolean' },
  } as const
  try {
    return parseArgs({ args: [...args], options }).values
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function roundsOf(text = `${ROUNDS}`): number {
  const rounds = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (rounds >= 1 && rounds <= MOST_ROUNDS) return rounds
  throw new UsageError(`--rounds: '${text}' is no whole number from 1 to ${MOST_ROUNDS}`)
}

/** Each once, in the order of `all`, whatever the order they were named in. */
function listOf<T extends string>(name: string, all: readonly T[], text: string | undefined): readonly T[] {
  if (text === undefined) return all
  const wanted = text.split(',')
  const unknown = wanted.find((one) => !(all as readonly string[]).includes(one))
  if (unknown !== undefined) throw new UsageError(`--${name}: '${unknown}' is none of ${all.join(', ')}`)
  return all.filter((one) => wanted.includes(one))
}

function presetOf(name: string | undefined): Preset | undefined {
  if (name === undefined) return undefined
  const found = PRESETS.find((preset) => preset.name === name)
  if (found) return found
  throw new UsageError(`--preset: '${name}' is neither ${PRESETS.map((preset) => preset.name).join(' nor ')}`)
}

/** Not only after an hour. */
function mustBeWritable(directory: string): void {
  try {
    accessSync(directory, constants.W_OK)
  } catch {
    throw new UsageError(`--out: cannot write into ${directory}`)
  }
}

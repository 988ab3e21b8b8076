import { accessSync, constants, existsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { BUNDLE } from '../support/bundle.ts'

const DEFAULT_MINUTES = 10
const LONGEST_MINUTES = 1_440
const SEEDS = 2 ** 32

export const USAGE = `usage: npm run chaos -- [--minutes N] [--seed S] [--report FILE-BASE]

Five replicas on a real API server, a random fault each few seconds, and a judge that looks on: no two workloads act at
once, epochs only grow, no two are ready at once, and after all faults have healed one serves in time. The run stops at
the first violation and keeps everything that was written.

  --minutes N         how long, from 1 to ${LONGEST_MINUTES} (default: ${DEFAULT_MINUTES})
  --seed S            decides on the faults, from 0 to ${SEEDS - 1} (default: another one each time)
  --report FILE-BASE  write FILE-BASE.json and FILE-BASE.md, in a directory that exists
  --main FILE         the program to run instead of dist/langflow-leader.mjs, to see that a broken one is caught
  --help              show this

Exit code 0: no violation; 1: a violation; 2: wrong usage, no run is possible here, or its report
could not be written; 130: interrupted.`

export interface Options {
  readonly minutes: number
  readonly seed: number
  readonly report: string | undefined
  readonly main: string
}

/** What a person typed wrong, in one sentence that says what to change. */
export class UsageError extends Error {}

/** `'help'`: that is all that is wanted. Throws `UsageError`. */
export function parseOptions(args: readonly string[]): Options | 'help' {
  const values = parse(args)
  if (values.help) return 'help'
  const minutes = number('minutes', values.minutes ?? String(DEFAULT_MINUTES), 1, LONGEST_MINUTES)
  const seed =
    values.seed === undefined ? Math.floor(Math.random() * SEEDS) : number('seed', values.seed, 0, SEEDS - 1)
  if (!Number.isInteger(seed)) throw new UsageError(`--seed must be a whole number, not "${values.seed}"`)
  if (values.report !== undefined) checkReport(values.report)
  const { main = BUNDLE } = values
  if (!existsSync(main)) throw new UsageError(`--main: there is no file ${main}`)
  return { minutes, seed, report: values.report, main }
}

/** A directory that is missing must not show only after the run. */
function checkReport(base: string): void {
  const directory = dirname(base)
  if (base === '' || base.endsWith('/')) throw new UsageError('--report must name a file, without its ending')
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory())
    throw new UsageError(`--report: there is no directory ${directory}`)
  try {
    accessSync(directory, constants.W_OK)
  } catch {
    throw new UsageError(`--report: the directory ${directory} cannot be written to`)
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: withValues(args),
      options: {
        minutes: { type: 'string' },
        seed: { type: 'string' },
        report: { type: 'string' },
        main: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    // Its first sentence; what follows is advice for other programs.
    throw new UsageError((error as Error).message.split(/\.?\n|\. /, 1)[0])
  }
}

/** Node refuses `--seed -1` before anybody can say what is allowed: it gets `--seed=-1`. */
function withValues(args: readonly string[]): string[] {
  const whole: string[] = []
  for (const arg of args) {
    const option = whole.at(-1) ?? ''
    if (/^-[^-]/.test(arg) && /^--\w+$/.test(option)) whole[whole.length - 1] = `${option}=${arg}`
    else whole.push(arg)
  }
  return whole
}

function number(name: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (/^\d+(\.\d+)?$/.test(text) && value >= least && value <= most) return value
  throw new UsageError(`--${name} must be a number from ${least} to ${most}, not "${text}"`)
}

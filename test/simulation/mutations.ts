import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FaultKind, kindsOf } from './faults/kinds.ts'

/**
 * Shows that the simulation can fail: it plays seeds against a copy of the product with one defect of `mutation-list.txt`,
 * until a seed breaks an invariant. The argument is a part of `RULE: NAME`, of the mutations to try. The default is all.
 *
 * Each defect is a patch of one file:
 * - `@`: the file.
 * - `#`: the rule that the defect breaks, and what the broken product does.
 * - `-`: lines that occur exactly once in the file. `+`: the lines that replace them, character for character.
 * - `among`: the only faults of these runs. Without it, a seed combines any faults, and some defects need a rare combination.
 * - `test`: a unit test that must fail, for a defect that the simulation does not model.
 * - `explored`: the exploration must find it too, within its `few` bounds or only within its `many`.
 */
interface Mutation {
  readonly file: string
  readonly rule: string
  readonly name: string
  readonly from: string[]
  readonly to: string[]
  among?: readonly FaultKind[]
  test?: string
  explored?: string
}

const ROOT = join(import.meta.dirname, '..', '..')
const SEEDS = 10_000
const play = (seeds: number, among: Mutation['among']) => `
  const { playUntilFailure } = await import('./test/simulation/play.ts')
  const { tally, failure } = await playUntilFailure(1, ${seeds}, ${JSON.stringify(among)})
  console.log(JSON.stringify({ seeds: tally.runs, by: failure?.violation.invariant ?? null }))
`
const EXPLORATION = ['--max-old-space-size=8192', '--test', 'test/simulation/exploration.test.ts']
/** On an idle core, 10,000 seeds take three minutes. */
const LONGEST_MS = 600_000

interface Verdict {
  /** The number of seeds that were played. `null`: a unit test ran instead. */
  readonly seeds: number | null
  /** The invariant or the unit test that failed. `null`: the defect was not caught. */
  readonly by: string | null
}

function parse(patches: string): Mutation[] {
  const mutations: Mutation[] = []
  let file = ''
  for (const line of patches.split('\n')) {
    const [, mark = '', text = ''] = /^(\S+) (.*)$/.exec(line) ?? []
    const [, rule = '', name = ''] = /^(\S+): (.*)$/.exec(text) ?? []
    const last = mutations.at(-1)
    if (mark === '@') file = text
    else if (mark === '#') mutations.push({ file, rule, name, from: [], to: [] })
    else if (mark === '-') last?.from.push(text)
    else if (mark === '+') last?.to.push(text)
    else if (mark === 'test' && last) last.test = text
    else if (mark === 'among' && last) last.among = kindsOf(text)
    else if (mark === 'explored' && last) last.explored = text
    else if (line !== '') throw new Error(`mutation-list.txt: the line "${line}" has no known mark`)
  }
  return mutations
}

function mutated({ name, file, from, to }: Mutation): string {
  const [before, after, ...more] = readFileSync(join(ROOT, file), 'utf8').split(from.join('\n'))
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(
      `mutation "${name}" must match exactly once in ${file}: update it in test/simulation/mutation-list.txt`,
    )
  }
  return before + to.join('\n') + after
}

interface Ended {
  readonly passed: boolean
  readonly out: string
  readonly err: string
}

function run(cwd: string, args: readonly string[], explore = ''): Promise<Ended> {
  return new Promise((resolve) => {
    const env = { ...process.env, EXPLORE: explore }
    const options = { cwd, env, timeout: LONGEST_MS, maxBuffer: Number.POSITIVE_INFINITY }
    execFile(process.execPath, args, options, (error, out, err) =>
      resolve({ passed: error === null, out, err }),
    )
  })
}

async function judge(mutation: Mutation): Promise<Verdict> {
  const directory = mkdtempSync(join(tmpdir(), 'mutation-'))
  try {
    for (const part of ['agent', 'deploy', 'test', 'package.json'])
      cpSync(join(ROOT, part), join(directory, part), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'))
    writeFileSync(join(directory, mutation.file), mutated(mutation))
    if (mutation.explored !== undefined) {
      const { out } = await run(directory, EXPLORATION, mutation.explored)
      if (!out.includes('what: ')) return { seeds: null, by: null }
    }
    if (mutation.test !== undefined) {
      const { passed } = await run(directory, ['--test', mutation.test])
      return { seeds: null, by: passed ? null : mutation.test }
    }
    const { out, err } = await run(directory, ['--input-type=module', '--eval', play(SEEDS, mutation.among)])
    if (out === '')
      throw new Error(
        `mutation "${mutation.name}" failed to run: ${err || `it took longer than ${LONGEST_MS} ms`}`,
      )
    const verdict = JSON.parse(out) as Verdict
    await checkProduct(mutation, verdict)
    return verdict
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Without the defect the same seeds must pass. Seeds without `among` need no check: `npm test` plays them. */
async function checkProduct({ name, among }: Mutation, { seeds, by }: Verdict): Promise<void> {
  if (among === undefined || by === null || seeds === null) return
  const { out } = await run(ROOT, ['--input-type=module', '--eval', play(seeds, among)])
  const sound = JSON.parse(out) as Verdict
  if (sound.by !== null)
    throw new Error(`mutation "${name}": without it, seed ${sound.seeds} breaks "${sound.by}" too`)
}

const all = parse(readFileSync(join(import.meta.dirname, 'mutation-list.txt'), 'utf8'))
const part = process.argv[2] ?? ''
if (part === '--help') {
  console.log('usage: npm run test:mutations -- [PART OF A NAME]    (default: all mutations)')
  process.exit(0)
}
const chosen = all.filter(({ rule, name }) => `${rule}: ${name}`.includes(part))
if (chosen.length === 0) {
  console.error(`no mutation has "${part}" in its name; run without an argument to try all mutations`)
  process.exit(2)
}
for (const mutation of chosen) mutated(mutation)
const verdicts = new Map<Mutation, Verdict>()
const waiting = [...chosen]
const report = (mutation: Mutation, verdict: Verdict) => {
  verdicts.set(mutation, verdict)
  process.stderr.write(
    `${verdicts.size} of ${chosen.length}: ${mutation.name}: ${verdict.by ?? 'NOT CAUGHT'}\n`,
  )
}
const work = async () => {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) report(next, await judge(next))
}
await Promise.all(Array.from({ length: Math.min(availableParallelism(), chosen.length) }, work))

console.log('| a product that … | rule | caught by | seeds |\n|---|---|---|---|')
for (const mutation of chosen) {
  const { seeds, by } = verdicts.get(mutation) as Verdict
  const caughtBy = by === null ? '**nothing**' : mutation.explored ? `${by}, exploration` : by
  console.log(`| ${mutation.name} | ${mutation.rule} | ${caughtBy} | ${seeds ?? '-'} |`)
}
const survived = chosen.filter((mutation) => verdicts.get(mutation)?.by === null).length
console.log(`\n${chosen.length - survived} of ${chosen.length} mutations were caught`)
if (survived > 0) process.exitCode = 1

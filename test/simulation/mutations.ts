import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FaultKind, KINDS } from './faults/kinds.ts'
import { PATCHES } from './mutation-list.ts'

/**
 * Shows that the simulation can fail: each deliberate defect of the product is put into a copy of it, for which some
 * invariant must break. Arguments: a part of the names of those to try (default: all).
 */
interface Mutation {
  readonly file: string
  readonly rule: string
  readonly name: string
  readonly from: string[]
  readonly to: string[]
  among?: readonly FaultKind[]
  test?: string
}

const ROOT = join(import.meta.dirname, '..', '..')
const SEEDS = 10_000
const play = (seeds: number, among: Mutation['among']) => `
  const { playUntilFailure } = await import('./test/simulation/play.ts')
  const { tally, failure } = await playUntilFailure(1, ${seeds}, ${JSON.stringify(among)})
  console.log(JSON.stringify({ seeds: tally.runs, by: failure?.violation.invariant ?? null }))
`
/** 10,000 seeds take three minutes on an idle core. */
const LONGEST_MS = 600_000

interface Verdict {
  /** How many seeds were played; `null`: a unit test was run instead. */
  readonly seeds: number | null
  /** The invariant or the test that broke; `null`: the defect went unnoticed. */
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
    else if (mark === 'among' && last) last.among = text.split('; ').map(known)
    else if (line !== '') throw new Error(`mutation-list.ts: what is "${line}"?`)
  }
  return mutations
}

function known(kind: string): FaultKind {
  const found = KINDS.find((one) => one === kind)
  if (found === undefined) throw new Error(`mutation-list.ts: there is no fault "${kind}"`)
  return found
}

/** The file of the product with the defect in it. */
function mutated({ name, file, from, to }: Mutation): string {
  const [before, after, ...more] = readFileSync(join(ROOT, file), 'utf8').split(from.join('\n'))
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(
      `"${name}" must match exactly once in ${file}: bring test/simulation/mutation-list.ts up to date`,
    )
  }
  return before + to.join('\n') + after
}

/** Runs Node in the copy. */
function run(cwd: string, args: readonly string[]): Promise<{ passed: boolean; out: string; err: string }> {
  return new Promise((resolve) => {
    const options = { cwd, timeout: LONGEST_MS, maxBuffer: Number.POSITIVE_INFINITY }
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
    if (mutation.test !== undefined) {
      const { passed } = await run(directory, ['--test', mutation.test])
      return { seeds: null, by: passed ? null : mutation.test }
    }
    const { out, err } = await run(directory, ['--input-type=module', '--eval', play(SEEDS, mutation.among)])
    if (out === '')
      throw new Error(`"${mutation.name}" cannot be played: ${err || `not within ${LONGEST_MS} ms`}`)
    const verdict = JSON.parse(out) as Verdict
    await checkProduct(mutation, verdict)
    return verdict
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** The same runs must pass without the defect; those with any faults are part of `npm test`. */
async function checkProduct({ name, among }: Mutation, { seeds, by }: Verdict): Promise<void> {
  if (among === undefined || by === null || seeds === null) return
  const { out } = await run(ROOT, ['--input-type=module', '--eval', play(seeds, among)])
  const sound = JSON.parse(out) as Verdict
  if (sound.by !== null)
    throw new Error(`"${name}": the product itself breaks ${sound.by} in seed ${sound.seeds}`)
}

const all = parse(PATCHES)
const wanted = process.argv[2] ?? ''
if (wanted === '--help') {
  console.log('usage: npm run test:mutations -- [PART OF A NAME]    (default: all of them)')
  process.exit(0)
}
const chosen = all.filter(({ name }) => name.includes(wanted))
if (chosen.length === 0) {
  console.error(`no mutation has "${wanted}" in its name: leave it out to try all`)
  process.exit(2)
}
for (const mutation of chosen) mutated(mutation)
const verdicts = new Map<Mutation, Verdict>()
const waiting = [...chosen]
const say = (mutation: Mutation, verdict: Verdict) => {
  verdicts.set(mutation, verdict)
  process.stderr.write(
    `${verdicts.size} of ${chosen.length}: ${mutation.name}: ${verdict.by ?? 'NOT CAUGHT'}\n`,
  )
}
const work = async () => {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) say(next, await judge(next))
}
await Promise.all(Array.from({ length: Math.min(availableParallelism(), chosen.length) }, work))

console.log('| a product that … | rule | caught by | seeds |\n|---|---|---|---|')
for (const mutation of chosen) {
  const { seeds, by } = verdicts.get(mutation) as Verdict
  console.log(`| ${mutation.name} | ${mutation.rule} | ${by ?? '**nothing**'} | ${seeds ?? '-'} |`)
}
const survived = chosen.filter((mutation) => verdicts.get(mutation)?.by === null).length
console.log(`\n${chosen.length - survived} of ${chosen.length} mutations are caught`)
if (survived > 0) process.exitCode = 1

import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MUTATIONS, type Mutation } from './mutation-list.ts'

/**
 * Shows that the simulation can fail: each deliberate defect of the product is put into a copy of it, for which some
 * invariant must break. Arguments: a part of the names of those to try (default: all).
 */
const ROOT = join(import.meta.dirname, '..', '..')
const SEEDS = 80_000
const PLAY = `
  const { playUntilFailure } = await import('./test/simulation/play.ts')
  const { runs, failure } = await playUntilFailure(1, ${SEEDS}, Infinity)
  console.log(JSON.stringify({ runs, invariant: failure?.violation.invariant, message: failure?.violation.message }))
`
const LONGEST_MS = 240_000

interface Verdict {
  readonly runs: number
  readonly invariant?: string
  readonly message?: string
}

function mutate(directory: string, { name, file, from, to }: Mutation): void {
  const path = join(directory, file)
  const [before, after, ...more] = readFileSync(path, 'utf8').split(from)
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(
      `"${name}" must match exactly once in ${file}: bring test/simulation/mutation-list.ts up to date`,
    )
  }
  writeFileSync(path, before + to + after)
}

function judge(mutation: Mutation): Verdict {
  const directory = mkdtempSync(join(tmpdir(), 'mutation-'))
  try {
    for (const part of ['agent', 'test/simulation'])
      cpSync(join(ROOT, part), join(directory, part), { recursive: true })
    writeFileSync(join(directory, 'package.json'), '{"type":"module"}')
    mutate(directory, mutation)
    const { stdout, stderr, error } = spawnSync(process.execPath, ['--input-type=module', '--eval', PLAY], {
      cwd: directory,
      encoding: 'utf8',
      timeout: LONGEST_MS,
    })
    if (error !== undefined) return { runs: 0, message: error.message }
    if (stdout === '') throw new Error(`"${mutation.name}" cannot be played: ${stderr}`)
    return JSON.parse(stdout) as Verdict
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const wanted = process.argv[2] ?? ''
const chosen = MUTATIONS.filter(({ name }) => name.includes(wanted))
if (chosen.length === 0) {
  console.error(`no mutation has "${wanted}" in its name: leave it out to try all`)
  process.exit(2)
}
console.log('| a product that … | breaks | in run |\n|---|---|---|')
let survived = 0
for (const mutation of chosen) {
  const { runs, invariant, message } = judge(mutation)
  if (invariant === undefined) survived++
  console.log(`| ${mutation.name} | ${invariant ?? `**nothing** ${message ?? ''}`} | ${runs} |`)
}
console.log(`\n${chosen.length - survived} of ${chosen.length} mutations are caught`)
if (survived > 0) process.exitCode = 1

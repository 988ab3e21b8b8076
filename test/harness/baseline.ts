import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * The commit whose contract all later states keep: its agents, launchers and fronts may run beside those of this state. It has
 * the contract of 0.1.0. After each release, this becomes the commit of that release (CONTRIBUTING.md).
 */
export const BASELINE = '4a0b3a731da8b761953a1fad01f4f7b87845cfe0'

const ROOT = join(import.meta.dirname, '../..')
const LOCK = 'package-lock.json'
const SOURCES = ['agent', 'deploy/bundle', 'package.json', LOCK, '.npmrc']
const GIT = ['-c', `safe.directory=${ROOT}`, '-C', ROOT]

export function baselineObstacle(): string | undefined {
  const { error, status } = spawnSync('git', [...GIT, 'cat-file', '-e', `${BASELINE}^{commit}`])
  if (status === 0) return undefined
  const why = error === undefined ? `the history lacks ${BASELINE}` : `git: ${error.message}`
  const obstacle = `cannot build the baseline: ${why}; clone with the whole history (git fetch --unshallow)`
  if (process.env.CI) throw new Error(obstacle)
  return obstacle
}

let bundle: string | undefined

export function baselineBundle(): string {
  if (bundle !== undefined) return bundle
  const directory = mkdtempSync(join(tmpdir(), 'baseline-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  const sources = join(directory, 'sources')
  mkdirSync(sources)
  const archive = execFileSync('git', [...GIT, 'archive', BASELINE, ...SOURCES], { maxBuffer: 2 ** 28 })
  execFileSync('tar', ['-x', '-C', sources], { input: archive })
  installLibraries(sources)
  bundle = join(directory, 'langflow-leader.mjs')
  execFileSync(process.execPath, [join(sources, 'deploy/bundle/build.mjs'), bundle])
  return bundle
}

function installLibraries(sources: string): void {
  const lock = (root: string) => readFileSync(join(root, LOCK), 'utf8')
  if (lock(sources) === lock(ROOT)) symlinkSync(join(ROOT, 'node_modules'), join(sources, 'node_modules'))
  else execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: sources })
}

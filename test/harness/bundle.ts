import { execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

/** The released single-file program, built from the current sources. It starts five times faster than the sources. */
export const BUNDLE = join(ROOT, 'dist/langflow-leader.mjs')

// `npm test` builds the bundle first. A test file that runs by itself builds it here if the sources are newer.
const builtAt = statSync(BUNDLE, { throwIfNoEntry: false })?.mtimeMs ?? 0
if (changedAt('agent') > builtAt) execFileSync(process.execPath, [join(ROOT, 'deploy/bundle/build.mjs')])

function changedAt(directory: string): number {
  const files = readdirSync(join(ROOT, directory), { recursive: true, withFileTypes: true })
  return Math.max(...files.map(({ parentPath, name }) => statSync(join(parentPath, name)).mtimeMs))
}

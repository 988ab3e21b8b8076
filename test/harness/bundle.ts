import { execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

/** The one file that is delivered, of the sources as they are: it starts in a fifth of the time that they take. */
export const BUNDLE = join(ROOT, 'dist/langflow-leader.mjs')

// `npm test` builds it beforehand; a file of tests that is run by itself need not.
const builtAt = statSync(BUNDLE, { throwIfNoEntry: false })?.mtimeMs ?? 0
if (changedAt('agent') > builtAt) execFileSync(process.execPath, [join(ROOT, 'deploy/bundle/build.mjs')])

function changedAt(directory: string): number {
  const files = readdirSync(join(ROOT, directory), { recursive: true, withFileTypes: true })
  return Math.max(...files.map(({ parentPath, name }) => statSync(join(parentPath, name)).mtimeMs))
}

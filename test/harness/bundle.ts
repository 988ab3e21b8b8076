import { execFile, execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

/** The released single-file program, built from the current sources. It starts five times faster than the sources. */
export const BUNDLE = join(ROOT, 'dist/langflow-leader.mjs')

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs the bundle to its end. */
export function runBundle(args: readonly string[], env = process.env, stdin = ''): Promise<Ended> {
  return new Promise((resolve) => {
    const words = [BUNDLE, ...args]
    const child = execFile(process.execPath, words, { env, maxBuffer: 2 ** 24 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    )
    child.stdin!.on('error', () => {}).end(stdin)
  })
}

// `npm test` builds the bundle first. A test file that runs by itself builds it here if the sources are newer.
const builtAt = statSync(BUNDLE, { throwIfNoEntry: false })?.mtimeMs ?? 0
if (changedAt('agent') > builtAt) execFileSync(process.execPath, [join(ROOT, 'deploy/bundle/build.mjs')])

function changedAt(directory: string): number {
  const files = readdirSync(join(ROOT, directory), { recursive: true, withFileTypes: true })
  return Math.max(...files.map(({ parentPath, name }) => statSync(join(parentPath, name)).mtimeMs))
}

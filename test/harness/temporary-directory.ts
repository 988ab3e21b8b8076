import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'

const directories: string[] = []
after(() => {
  for (const dir of directories) rmSync(dir, { recursive: true })
})

/** It is removed after the last test of the file, because processes of a test may still use it. */
export function temporaryDirectory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'test-'))
  directories.push(dir)
  return dir
}

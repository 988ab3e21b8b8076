import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Throws one sentence where there is none. */
export function findProgram(program: string, env: NodeJS.ProcessEnv): string {
  if (program.includes('/')) return program
  for (const directory of (env.PATH ?? '').split(delimiter)) {
    const file = join(directory, program)
    try {
      accessSync(file, constants.X_OK)
      if (statSync(file).isFile()) return file
    } catch {
      // The next one.
    }
  }
  throw new Error(`there is no "${program}" in PATH`)
}

/** What the first line of a script names; `undefined`: it is none, or cannot be read. */
export function shebangOf(file: string): string | undefined {
  try {
    return /^#!\s*(\S+)/.exec(headOf(file))?.[1]
  } catch {
    return undefined
  }
}

const HEAD_BYTES = 1024

/** Its first bytes, as text. */
export function headOf(file: string): string {
  const head = Buffer.alloc(HEAD_BYTES)
  const fd = openSync(file, 'r')
  try {
    return head.toString('utf8', 0, readSync(fd, head))
  } finally {
    closeSync(fd)
  }
}

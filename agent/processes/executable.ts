import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readSync,
  statSync,
} from 'node:fs'
import { delimiter, join } from 'node:path'

/** Throws one sentence where there is none. */
export function findProgram(program: string, env: NodeJS.ProcessEnv): string {
  if (program.includes('/')) return program
  const found = placesOf(program, env.PATH ?? '').find((file) => errorOf(file) === null)
  if (found === undefined) throw new Error(`there is no "${program}" in PATH`)
  return found
}

/** Throws what execve(2) would answer, as far as that can be foretold. */
export function checkProgram(file: string, env: NodeJS.ProcessEnv): void {
  const places = file.includes('/') ? [file] : placesOf(file, env.PATH ?? '/bin:/usr/bin')
  const answers = places.map(errorOf)
  const program = places[answers.indexOf(null)]
  if (program === undefined) throw withCode(answers.find((code) => code !== 'ENOENT') ?? 'ENOENT')
  const interpreter = shebangOf(program)
  if (interpreter !== undefined && !existsSync(interpreter)) throw withCode('ENOENT')
}

function placesOf(program: string, path: string): string[] {
  return path.split(delimiter).map((directory) => join(directory, program))
}

/** The code of the error that an attempt to execute the file ends with; `null`: it can be executed. */
function errorOf(file: string): string | null {
  try {
    accessSync(file, constants.X_OK)
    return statSync(file).isFile() ? null : 'EACCES'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'ENOENT'
  }
}

function withCode(code: string): Error {
  return Object.assign(new Error(code), { code })
}

/** What the first line of a script names; `undefined`: it is none, or cannot be read. */
function shebangOf(file: string): string | undefined {
  try {
    return /^#!\s*(\S+)/.exec(headOf(file))?.[1]
  } catch {
    return undefined
  }
}

/** The first 1,024 bytes of a file, as text. Throws for what is no file: reading a FIFO would wait for whoever writes. */
export function headOf(file: string): string {
  const head = Buffer.alloc(1024)
  const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    if (!fstatSync(fd).isFile()) throw new Error(`${file} is no file`)
    return head.toString('utf8', 0, readSync(fd, head))
  } finally {
    closeSync(fd)
  }
}

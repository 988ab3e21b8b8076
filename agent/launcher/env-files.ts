import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { parseEnv } from 'node:util'
import { reasonOf } from '../errno.ts'

/** The kernel starts no process with a longer variable (MAX_ARG_STRLEN), the final zero included. */
const MOST_BYTES = 128 * 1024 - 1
/** A comment, or a name, `=`, and a value that is quoted or ends with its line, as `parseEnv` reads them. */
const LINE =
  /[^\S\n]*(?:#[^\n]*|(?:export[^\S\n]+)?[\w.-]+[^\S\n]*=[^\S\n]*(?:(?:"[^"]*"|'[^']*'|`[^`]*`)[^\S\n]*(?:#[^\n]*)?|(?!["'`])[^\n]*))?(?:\n|$)/y
/** The variables of this program and of the API server stay what they are. */
const RESERVED = /^(KUBERNETES|(LANGFLOW_)?LEADER)_/

/** A later file overrides an earlier one, and each file overrides the container. No message contains a name or a value. */
export class EnvFiles {
  readonly paths: readonly string[]
  private readonly given: NodeJS.ProcessEnv
  private hasRead = false
  private fault: string | null = null
  /** The variables of all files together, in the order of their names. They are secrets. */
  variables: Readonly<NodeJS.Dict<string>> = {}

  constructor(paths: readonly string[], given: NodeJS.ProcessEnv) {
    this.paths = paths
    this.given = given
  }

  /** Reads the files again. If one cannot be used, all keep their variables. */
  async read(): Promise<void> {
    const found: NodeJS.Dict<string> = {}
    for (const path of this.paths) {
      try {
        Object.assign(found, variablesIn(await textOf(path)))
      } catch (error) {
        this.fault = `--env-file ${path} cannot be read: ${reasonOf(error)}`
        return
      }
    }
    const usable = Object.entries(found).filter(([name]) => !RESERVED.test(name))
    this.variables = Object.fromEntries(usable.sort())
    this.hasRead = true
    this.fault = null
  }

  get environment(): NodeJS.ProcessEnv {
    return { ...this.given, ...this.variables }
  }

  get refusal(): string | null {
    return this.hasRead ? null : this.fault
  }

  /** Why the files are not used as they are now. */
  get problem(): string | null {
    const { fault } = this
    return this.hasRead && fault ? `${fault}: LangFlow keeps the variables that were read before` : fault
  }
}

async function textOf(path: string): Promise<string> {
  // A FIFO or a device could block or never end.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const stats = await file.stat()
  if (!stats.isFile()) throw new Error('it is not a regular file')
  if (stats.size > MOST_BYTES) throw new Error('it is larger than 128 KiB')
  return (await file.readFile('utf8')).replace(/^\ufeff/, '')
}

/** Each line is parsed alone: after a value of spaces, `parseEnv` would take the next line for the value (Node 24). */
function variablesIn(text: string): NodeJS.Dict<string> {
  const variables: NodeJS.Dict<string> = {}
  for (let at = 0; at < text.length; at = LINE.lastIndex) {
    LINE.lastIndex = at
    const [entry = '\0'] = LINE.exec(text) ?? []
    // What is not UTF-8 was replaced. No environment holds a zero.
    if (/[\0\ufffd]/.test(entry)) {
      const line = text.slice(0, at).split('\n').length
      throw new Error(`error in line ${line}: write KEY=value, and quote a value of several lines`)
    }
    Object.assign(variables, parseEnv(entry))
  }
  return variables
}

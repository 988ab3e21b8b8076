import { existsSync } from 'node:fs'

/** The last command of a script, and the variables that the script sets for it. */
interface Start {
  readonly words: readonly string[]
  readonly environment: Readonly<Record<string, string>>
}

/**
 * Reads a shell script that only prepares the start of a program, without running the shell: `set`, `echo`, `export`,
 * assignments, `mkdir -p` of existing directories, and `if [ -n "$A" ]; then …; else …; fi` around them. Throws one
 * sentence if the script does anything else. `option`: the shell's option before the script, such as `-c`.
 */
export function readScript(
  option: string,
  text: string,
  env: NodeJS.ProcessEnv,
  isThere: (directory: string) => boolean = existsSync,
): Start {
  const commands = commandsIn(text)
  const last = commands.pop() ?? []
  const script = new StartScript(env, option.includes('u'), isThere)
  for (const command of commands) script.prepare(command)
  return script.start(last)
}

const TOKEN =
  /(?:[ \t]|\\\n)*(?:((?:'[^']*'|"(?:[^"\\$`]|\$[A-Za-z_]\w*|\$\{\w+\})*"|[\w@%+=:,./-]|\$[A-Za-z_]\w*|\$\{\w+\})+|(?<!\S)[[\]](?![^\s;]))|&&\s*|;|\n|(?<![^\s;&])#.*|$)/y
const ASSIGNMENT = /^[A-Za-z_]\w*=/

/** The words of each command, with their quotes and variables. */
function commandsIn(text: string): string[][] {
  const commands: string[][] = [[]]
  for (let at = 0; at < text.length; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at
    const found = TOKEN.exec(text)
    if (found === null) throw doesMore()
    const [, word] = found
    if (word === undefined) commands.push([])
    else commands.at(-1)!.push(word)
  }
  return commands.filter((words) => words.length > 0)
}

class StartScript {
  private readonly env: NodeJS.ProcessEnv
  private readonly isThere: (directory: string) => boolean
  private readonly variables: NodeJS.ProcessEnv
  /** The names of the variables that the program receives. */
  private readonly exported: Set<string>
  /** Whether an unset variable ends the script. */
  private isStrict: boolean
  /** Whether the command is within an `if`, and whether the shell would skip it. */
  private branch: 'none' | 'taken' | 'skipped' = 'none'

  constructor(env: NodeJS.ProcessEnv, isStrict: boolean, isThere: (directory: string) => boolean) {
    this.env = env
    this.isThere = isThere
    this.variables = { ...env }
    this.exported = new Set(Object.keys(env))
    this.isStrict = isStrict
  }

  prepare([first = '', ...rest]: readonly string[]): void {
    const isInside = this.branch !== 'none'
    if (first === 'if' && !isInside) this.branch = this.holds(rest) ? 'taken' : 'skipped'
    else if (first === 'then' && isInside) this.set(rest)
    else if (first === 'else' && isInside) {
      this.branch = this.branch === 'taken' ? 'skipped' : 'taken'
      this.set(rest)
    } else if (first === 'fi' && isInside && rest.length === 0) this.branch = 'none'
    else this.set([first, ...rest])
  }

  start(last: readonly string[]): Start {
    const at = last.findIndex((word) => !ASSIGNMENT.test(word))
    if (this.branch !== 'none' || at < 0) throw doesMore()
    const command = last.slice(last[at] === 'exec' ? at + 1 : at)
    const words = command.map((word) => this.valueOf(word, true))
    for (const word of last.slice(0, at)) this.assign(word, true)
    const environment: Record<string, string> = {}
    for (const name of this.exported) {
      const value = this.variables[name]
      if (value !== undefined && value !== this.env[name]) environment[name] = value
    }
    return { words, environment }
  }

  /** A command that sets variables or has no effect. */
  private set(words: readonly string[]): void {
    const [name, ...args] = words
    const flags = args.join(' ')
    if (words.every((word) => ASSIGNMENT.test(word))) for (const word of words) this.assign(word, false)
    else if (name === 'export') for (const word of args) this.assign(word, true)
    else if (name === 'echo') for (const word of args) this.valueOf(word, false)
    else if (name === 'mkdir' && args[0] === '-p') for (const word of args.slice(1)) this.requireThere(word)
    else if (name === 'set' && /^(-[eux]*(o pipefail)?( |$))+$/.test(flags))
      this.isStrict ||= /-[ex]*u/.test(flags)
    else throw doesMore()
  }

  private holds([open, test, word = '', close, ...more]: readonly string[]): boolean {
    if (open !== '[' || close !== ']' || more.length > 0 || (test !== '-n' && test !== '-z')) throw doesMore()
    return (this.valueOf(word, true) === '') === (test === '-z')
  }

  private assign(word: string, isExported: boolean): void {
    const [, name, value] = /^([A-Za-z_]\w*)(?:=(.*))?$/s.exec(word) ?? []
    if (name === undefined) throw doesMore()
    if (this.branch === 'skipped') return
    if (value !== undefined) this.variables[name] = this.valueOf(value, false)
    if (isExported) this.exported.add(name)
  }

  private requireThere(word: string): void {
    const directory = this.valueOf(word, true)
    if (this.branch !== 'skipped' && !this.isThere(directory))
      throw new Error('its shell script creates a directory: mount a volume there')
  }

  /** The word without quotes, and with its variables. `splits`: the shell would split an unquoted value. */
  private valueOf(word: string, splits: boolean): string {
    return word.replace(
      /'([^']*)'|"([^"]*)"|[^'"]+/g,
      (bare, single?: string, double?: string) =>
        single ?? this.insertVariables(double ?? bare, splits && double === undefined),
    )
  }

  private insertVariables(text: string, splits: boolean): string {
    return text.replace(/\$(?:\{(\w+)\}|(\w+))/g, (_, braced?: string, plain?: string) => {
      const name = braced ?? plain ?? ''
      const value = this.variables[name] ?? ''
      if (this.branch === 'skipped') return value
      if (this.isStrict && this.variables[name] === undefined) throw new Error(`"$${name}" is not set`)
      if (splits && /[\s*?[]|^$/.test(value))
        throw new Error(`put "$${name}" in quotes: its value is not one word`)
      return value
    })
  }
}

function doesMore(): Error {
  return new Error('its shell script does more than set variables and start LangFlow')
}

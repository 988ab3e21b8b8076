export interface Start {
  /** Its last command. */
  readonly words: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  /** The directories that it creates unless they exist. */
  readonly directories: readonly string[]
}

/**
 * Reads a shell script that only prepares the start of a program, without running the shell, as LangFlow's charts have
 * it: `set`, `echo`, `export`, `mkdir -p`, and `if [ -n "$A" ]; then …; else …; fi` around them. Throws one sentence if
 * the script does anything else, or uses an unset variable.
 */
export function readScript(text: string, env: NodeJS.ProcessEnv): Start {
  const commands = commandsIn(text)
  const last = commands.pop() ?? []
  const script = new StartScript(env)
  for (const command of commands) script.prepare(command)
  return script.start(last)
}

const TOKEN =
  /(?:[ \t]|\\\n)*(?:((?:'[^']*'|"(?:[^"\\$`]|\$[A-Za-z_]\w*\b|\$\{\w+\})*"|[\w@%+=:,./-]|(?!\s)[\u0080-\uffff]|\$[A-Za-z_]\w*\b|\$\{\w+\})+|(?<!\S)[[\]](?![^\s;]))|&&\s*|;|\n|(?<![^\s;&])#.*|$)/y
const ASSIGNMENT = /^([A-Za-z_]\w*)=(.*)$/s

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
  private readonly environment: Record<string, string> = {}
  private readonly directories: string[] = []
  /** Of an `if`. */
  private branch: 'none' | 'taken' | 'skipped' = 'none'

  constructor(env: NodeJS.ProcessEnv) {
    this.env = env
  }

  prepare(words: readonly string[]): void {
    const [first = '', ...rest] = words
    if (first === 'if' && this.branch === 'none') this.branch = this.holds(rest) ? 'taken' : 'skipped'
    else if (this.branch === 'none') this.set(words)
    else if (first === 'then') this.set(rest)
    else if (first === 'else') {
      this.branch = this.branch === 'taken' ? 'skipped' : 'taken'
      this.set(rest)
    } else if (first === 'fi' && rest.length === 0) this.branch = 'none'
    else this.set(words)
  }

  start(last: readonly string[]): Start {
    const at = last.findIndex((word) => !ASSIGNMENT.test(word))
    if (this.branch !== 'none' || at < 0) throw doesMore()
    const words = last.slice(last[at] === 'exec' ? at + 1 : at).map((word) => this.valueOf(word, true))
    for (const word of last.slice(0, at)) this.assign(word)
    return { words, environment: this.environment, directories: this.directories }
  }

  /** A command that sets variables or has no effect. */
  private set([name = '', ...args]: readonly string[]): void {
    if (name === 'export') for (const word of args) this.assign(word)
    else if (name === 'mkdir' && args[0] === '-p') {
      const made = args.slice(1).map((word) => this.valueOf(word, true))
      if (this.branch !== 'skipped') this.directories.push(...made)
    } else if (
      !/^(|echo|set( -[eux]*(o pipefail)?)+)$/.test(name === 'set' ? [name, ...args].join(' ') : name)
    )
      throw doesMore()
  }

  private holds([open, test, word = '', close, ...more]: readonly string[]): boolean {
    if (open !== '[' || test !== '-n' || close !== ']' || more.length > 0) throw doesMore()
    return this.valueOf(word, false, '') !== ''
  }

  private assign(word: string): void {
    const [, name, value = ''] = ASSIGNMENT.exec(word) ?? []
    if (name === undefined) throw doesMore()
    if (this.branch !== 'skipped') this.environment[name] = this.valueOf(value, false)
  }

  /** Without quotes, and with its variables. `splits`: the shell would split an unquoted value. */
  private valueOf(word: string, splits: boolean, unset?: string): string {
    return word.replace(/'([^']*)'|"([^"]*)"|[^'"]+/g, (bare, single?: string, double?: string) => {
      const insert = (_: string, braced?: string, plain?: string) => {
        const name = braced ?? plain ?? ''
        const value = this.environment[name] ?? this.env[name] ?? unset
        if (this.branch === 'skipped') return ''
        if (value === undefined) throw new Error(`"$${name}" is not set`)
        if (splits && double === undefined && /[\s*?[]|^$/.test(value))
          throw new Error(`put "$${name}" in quotes: its value is not one word`)
        return value
      }
      return single ?? (double ?? bare).replace(/\$(?:\{(\w+)\}|(\w+))/g, insert)
    })
  }
}

function doesMore(): Error {
  return new Error('its shell script does more than set variables and start LangFlow')
}

/** What a start script does. */
export interface Start {
  /** The words of its last command. */
  readonly words: readonly string[]
  /** The variables that it exports. */
  readonly environment: Readonly<Record<string, string>>
  /** The directories that it creates unless they exist. */
  readonly directories: readonly string[]
}

/**
 * Reads a shell script that only prepares the start of a program, without running the shell: `set`, `echo`, `export`,
 * assignments to exported variables, `mkdir -p`, and `if [ -n "$A" ]; then …; else …; fi` around them. Throws one
 * sentence if the script does anything else. `option`: the shell's option before the script, such as `-c`.
 */
export function readScript(option: string, text: string, env: NodeJS.ProcessEnv): Start {
  const commands = commandsIn(text)
  const last = commands.pop() ?? []
  const script = new StartScript(env, option.includes('u'))
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
  /** Whether an unset variable ends the script. */
  private isStrict: boolean
  /** Whether the command is within an `if`, and whether the shell would skip it. */
  private branch: 'none' | 'taken' | 'skipped' = 'none'

  constructor(env: NodeJS.ProcessEnv, isStrict: boolean) {
    this.env = env
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
    for (const word of last.slice(0, at)) this.assign(word)
    const { environment, directories } = this
    return { words, environment, directories }
  }

  /** A command that sets variables or has no effect. */
  private set(words: readonly string[]): void {
    const [name = '', ...args] = words
    const flags = args.join(' ')
    if (name === 'export') for (const word of args) this.assign(word)
    else if (name === 'echo') for (const word of args) this.valueOf(word, false)
    else if (name === 'set' && /^(-[eux]*(o pipefail)?( |$))+$/.test(flags))
      this.isStrict ||= /-[ex]*u/.test(flags)
    else if (name === 'mkdir' && args[0] === '-p') {
      const made = args.slice(1).map((word) => this.valueOf(word, true))
      if (this.branch !== 'skipped') this.directories.push(...made)
    } else
      for (const word of words) {
        // A variable that is not exported would not reach the program.
        if (this.variable(ASSIGNMENT.exec(word)?.[1]) === undefined) throw doesMore()
        this.assign(word)
      }
  }

  private holds([open, test, word = '', close, ...more]: readonly string[]): boolean {
    if (open !== '[' || close !== ']' || more.length > 0 || (test !== '-n' && test !== '-z')) throw doesMore()
    return (this.valueOf(word, true) === '') === (test === '-z')
  }

  private assign(word: string): void {
    const [, name = '', value = ''] = ASSIGNMENT.exec(word) ?? []
    if (name === '') throw doesMore()
    if (this.branch !== 'skipped') this.environment[name] = this.valueOf(value, false)
  }

  private variable(name = ''): string | undefined {
    return this.environment[name] ?? this.env[name]
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
      const value = this.variable(name) ?? ''
      if (this.branch === 'skipped') return value
      if (this.isStrict && this.variable(name) === undefined) throw new Error(`"$${name}" is not set`)
      if (splits && /[\s*?[]|^$/.test(value))
        throw new Error(`put "$${name}" in quotes: its value is not one word`)
      return value
    })
  }
}

function doesMore(): Error {
  return new Error('its shell script does more than set variables and start LangFlow')
}

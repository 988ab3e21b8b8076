import { type Command, Option } from 'commander'

/** A value that the command line and the environment can set. */
export interface Setting<T> {
  /** The flag in one letter, as in kubectl, such as `-n`. */
  readonly short?: string
  /** Another name of the flag, as in kubectl. `--help` shows this name; the name from the code works as well. */
  readonly long?: string
  /** The value's placeholder in `--help`, such as `<duration>`. '' for a flag without a value, whose variable is `true` or `false`. */
  readonly argument: string
  /** The default, as a user would type it. Without a default, the value may be absent. */
  readonly fallback?: string
  /** The behaviour if the value is absent, for `--help`. */
  readonly otherwise?: string
  readonly about: string
  readonly group: string
  /** The allowed values, if the setting has a fixed list. */
  readonly choices?: readonly string[]
  /** The flag may be repeated. Its values, and those in the variable, are separated by commas. */
  readonly repeats?: true
  /** Throws an Error whose sentence is the remedy. */
  readonly parse: (text: string) => T
}

/** Settings by the names of their flags in code: `leaseDurationMs` for `--lease-duration`. */
export type Settings = Readonly<Record<string, Setting<unknown>>>

/** The values of settings. A value is `null` if it is not set and has no fallback. */
export type Values<S extends Settings> = {
  readonly [K in keyof S]: ReturnType<S[K]['parse']> | (S[K] extends { fallback: string } ? never : null)
}

export function setting<T>(argument: string, fallback: string, about: string, parse: (text: string) => T) {
  return { argument, fallback, about, parse }
}

export function optional<T>(argument: string, otherwise: string, about: string, parse: (text: string) => T) {
  return { argument, otherwise, about, parse }
}

/** The first choice is the default. */
export function choice<const T extends string>(
  choices: readonly [T, ...T[]],
  about: string,
  fallback: T = choices[0],
) {
  const list = choices.join(', ')
  const parse = (text: string) => oneOf(choices, text, `one of ${list}`)
  return { ...setting('<choice>', fallback, `${about}: ${list}`, parse), choices }
}

export function onOff(about: string) {
  return setting('', 'false', about, (text) => oneOf(['true', 'false'], text, 'true or false') === 'true')
}

function oneOf<T extends string>(choices: readonly T[], text: string, list: string): T {
  const found = choices.find((one) => one === text)
  if (found === undefined) throw new Error(`use ${list}`)
  return found
}

export function group<const S extends Readonly<Record<string, Omit<Setting<unknown>, 'group'>>>>(
  name: string,
  settings: S,
): { readonly [K in keyof S]: S[K] & { readonly group: string } } {
  const grouped = Object.entries(settings).map(([key, setting]) => [key, { ...setting, group: name }])
  return Object.fromEntries(grouped)
}

/** `leaseDurationMs` -> `leaseDuration`, commander's name for it: on the command line each value has its own unit. */
function attributeOf(key: string): string {
  return key.replace(/Ms$/, '')
}

/** `leaseDurationMs` -> `--lease-duration` */
export function flagOf(key: string): string {
  return `--${attributeOf(key).replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`
}

/** `--lease-duration` -> `LEADER_LEASE_DURATION` */
export function variableOf(flag: string): string {
  return `LEADER_${flag.slice(2).replaceAll('-', '_').toUpperCase()}`
}

/**
 * A flag and the variable that also sets it. Commander's `env()` doesn't fit: it reads only the environment of this process, and
 * `check` reads the environments of containers. It also accepts an empty variable as a value, and reads `false` as true.
 */
export class SettingOption extends Option {
  /** `null` if only the command line sets it. */
  readonly variable: string | null
  private readonly attribute: string

  constructor(key: string, setting: Setting<unknown>, variable: string | null) {
    const {
      short,
      long = flagOf(key),
      argument,
      about,
      group,
      fallback,
      otherwise,
      choices,
      repeats,
    } = setting
    super(`${short === undefined ? '' : `${short}, `}${long} ${argument}`.trim(), about)
    this.attribute = attributeOf(key)
    this.variable = variable
    this.helpGroup(`${group}:`)
    this.default(undefined, fallback || otherwise)
    if (repeats)
      this.argParser((value, before?: string) => (before === undefined ? value : `${before},${value}`))
    if (choices !== undefined) this.argChoices = [...choices]
  }

  override attributeName(): string {
    return this.attribute
  }
}

/** An option's description in `--help`, with its default and its variable. */
export function optionDescription(option: Option): string {
  const unset = option.defaultValueDescription
  const variable = option instanceof SettingOption ? option.variable : null
  const notes = [unset === undefined ? null : `default: ${unset}`, variable].filter((note) => note !== null)
  return notes.length === 0 ? option.description : `${option.description} (${notes.join('; ')})`
}

/** The settings of a command that runs in pods: each is a flag and a variable. */
export function addSettings(command: Command, settings: Settings): Command {
  for (const [key, setting] of Object.entries(settings))
    addSetting(command, key, setting, variableOf(flagOf(key)))
  return command
}

/** The settings of a command for people: each is a flag, without a variable. */
export function addFlags(command: Command, settings: Settings): Command {
  for (const [key, setting] of Object.entries(settings)) addSetting(command, key, setting, null)
  return command
}

function addSetting(command: Command, key: string, setting: Setting<unknown>, variable: string | null): void {
  command.addOption(new SettingOption(key, setting, variable))
  const { short: _, long, ...alias } = setting
  if (long !== undefined) command.addOption(new SettingOption(key, alias, variable).hideHelp())
}

/** Reads each setting of `addFlags` from its flag, else its fallback. Throws a usage error for a wrong value. */
export function readFlags<S extends Settings>(command: Command, settings: S): Values<S> {
  return readSettings(command, settings, {})
}

/**
 * Reads each setting from its flag, else from its environment variable (an empty variable counts as not set), else its
 * fallback. Throws a usage error that names the wrong flag or variable.
 */
export function readSettings<S extends Settings>(
  command: Command,
  settings: S,
  env: NodeJS.ProcessEnv,
): Values<S> {
  const values = Object.entries(settings).map(([key, { fallback, parse, long }]) => {
    const flag = flagOf(key)
    const typed: string | true | undefined = command.getOptionValue(attributeOf(key))
    const text = typed ?? (env[variableOf(flag)] || fallback)
    if (text === undefined) return [key, null]
    try {
      return [key, parse(String(text))]
    } catch (error) {
      const source = typed === undefined ? variableOf(flag) : (long ?? flag)
      const shown = String(text).replace(/^(.{120}).+$/s, '$1...')
      return command.error(`${source} '${shown}': ${(error as Error).message}`)
    }
  })
  return Object.fromEntries(values)
}

/** The settings that the user typed: the variable and the text of each. */
export function typedSettings(
  command: Command,
  settings: Settings,
): { readonly name: string; readonly value: string }[] {
  return Object.keys(settings).flatMap((key) => {
    const value: string | true | undefined = command.getOptionValue(attributeOf(key))
    return value ? [{ name: variableOf(flagOf(key)), value: String(value) }] : []
  })
}

import { type Command, Option } from 'commander'

export interface Setting<T> {
  readonly short?: string
  /** The name of the flag, as in kubectl, if it is not made from the setting's name in code. */
  readonly long?: string
  /** The value's placeholder in `--help`, such as `<duration>`. '' for a flag without a value, whose variable is `true` or `false`. */
  readonly argument: string
  readonly fallback?: string
  readonly otherwise?: string
  readonly about: string
  readonly group: string
  /** The flag may be repeated. Its values, and those in the variable, are separated by commas. */
  readonly repeats?: true
  readonly parse: (text: string) => T
}

/** Settings by the names of their flags in code: `leaseDurationMs` for `--lease-duration`. */
export type Settings = Readonly<Record<string, Setting<unknown>>>

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
  return setting('<choice>', fallback, `${about}: ${list}`, (text) => oneOf(choices, text, `one of ${list}`))
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

export function flagOf(key: string): string {
  return `--${key.replace(/Ms$/, '').replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`
}

export function variableOf(flag: string): string {
  return `LEADER_${flag.slice(2).replaceAll('-', '_').toUpperCase()}`
}

/**
 * A flag and the variable that also sets it. Commander's `env()` doesn't fit: it reads only the environment of this process, and
 * `check` reads the environments of containers. It also accepts an empty variable as a value, and reads `false` as true.
 */
export class SettingOption extends Option {
  variable: string | null = null
}

export function optionDescription(option: Option): string {
  const unset = option.defaultValueDescription
  const variable = option instanceof SettingOption ? option.variable : null
  const notes = [unset && `default: ${unset}`, variable].filter(Boolean).join('; ')
  return notes === '' ? option.description : `${option.description} (${notes})`
}

export function addSettings(command: Command, settings: Settings): Command {
  for (const [key, setting] of Object.entries(settings))
    addSetting(command, key, setting, variableOf(flagOf(key)))
  return command
}

export function addFlags(command: Command, settings: Settings): Command {
  for (const [key, setting] of Object.entries(settings)) addSetting(command, key, setting, null)
  return command
}

function addSetting(command: Command, key: string, setting: Setting<unknown>, variable: string | null): void {
  const { short, long, argument, about, group, fallback, otherwise, repeats } = setting
  const option = new SettingOption(
    [short, `${long ?? flagOf(key)} ${argument}`.trim()].filter(Boolean).join(', '),
    about,
  )
  option.variable = variable
  option.helpGroup(`${group}:`).default(undefined, fallback || otherwise)
  if (repeats)
    option.argParser((value, before?: string) => (before === undefined ? value : `${before},${value}`))
  command.addOption(option)
}

function typed(command: Command, key: string, { long = flagOf(key) }: Setting<unknown>): string | undefined {
  const option = command.options.find((one) => one.long === long)
  const value: string | true | undefined = option && command.getOptionValue(option.attributeName())
  return value === undefined ? undefined : String(value)
}

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
  const values = Object.entries(settings).map(([key, setting]) => {
    const variable = variableOf(flagOf(key))
    const given = typed(command, key, setting)
    const text = given ?? (env[variable] || setting.fallback)
    if (text === undefined) return [key, null]
    try {
      return [key, setting.parse(text)]
    } catch (error) {
      const source = given === undefined ? variable : (setting.long ?? flagOf(key))
      const shown = text.replace(/^(.{120}).+$/s, '$1...')
      return command.error(`${source} '${shown}': ${(error as Error).message}`)
    }
  })
  return Object.fromEntries(values)
}

export function typedSettings(
  command: Command,
  settings: Settings,
): { readonly name: string; readonly value: string }[] {
  return Object.entries(settings).flatMap(([key, setting]) => {
    const value = typed(command, key, setting)
    return value ? [{ name: variableOf(flagOf(key)), value }] : []
  })
}

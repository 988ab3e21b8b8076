import { type Command, Option } from 'commander'
import * as z from 'zod/mini'

/** One value that the command line and the environment can set. */
export interface Setting<T> {
  /** As `--help` shows it, e.g. `<duration>`; '': a flag without a value, whose variable says `true` or `false`. */
  readonly argument: string
  /** As one would type it; without one the value may be absent. */
  readonly fallback?: string
  /** What happens where it is absent, for `--help`. */
  readonly otherwise?: string
  readonly about: string
  readonly group: string
  readonly schema: z.ZodMiniType<T, string>
}

/** Settings by the names of their flags in code: `leaseDurationMs` for `--lease-duration`. */
export type Settings = Readonly<Record<string, Setting<unknown>>>

/** What the settings say, once read; `null` where nothing was said and there is no fallback. */
export type Values<S extends Settings> = {
  readonly [K in keyof S]: S[K] extends { fallback: string }
    ? z.output<S[K]['schema']>
    : z.output<S[K]['schema']> | null
}

/** Turns a function that throws an Error with one clear sentence into a schema that reports it. */
export function reads<T>(parse: (text: string) => T): z.ZodMiniType<T, string> {
  return z.pipe(
    z.string(),
    z.transform((text, context) => {
      try {
        return parse(text)
      } catch (error) {
        context.issues.push({ code: 'custom', message: (error as Error).message, input: text })
        return z.NEVER
      }
    }),
  )
}

/** `leaseDurationMs` -> `leaseDuration`, as commander calls it: on the command line each value brings its own unit. */
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

/** Adds a flag for each setting, with its default and its environment variable in `--help`. */
export function addSettings(command: Command, settings: Settings): Command {
  for (const [key, { argument, about, group, fallback, otherwise }] of Object.entries(settings)) {
    const flag = flagOf(key)
    const unset = fallback ?? otherwise
    const notes = unset === undefined ? variableOf(flag) : `default: ${unset}; ${variableOf(flag)}`
    command.addOption(new Option(`${flag} ${argument}`.trim(), `${about} (${notes})`).helpGroup(`${group}:`))
  }
  return command
}

/**
 * Reads each setting from its flag, else from its environment variable (an empty one counts as not set), else its
 * fallback. Ends with a usage error that names the flag or variable at fault.
 */
export function readSettings<S extends Settings>(
  command: Command,
  settings: S,
  env: NodeJS.ProcessEnv,
): Values<S> {
  const typed = (key: string): string | true | undefined => command.getOptionValue(attributeOf(key))
  const texts: Record<string, string | null> = {}
  const schemas: Record<string, z.ZodMiniType> = {}
  for (const [key, { fallback, schema }] of Object.entries(settings)) {
    const text = typed(key) ?? (env[variableOf(flagOf(key))] || fallback)
    texts[key] = text === undefined ? null : String(text)
    schemas[key] = z.nullable(schema)
  }
  const result = z.safeParse(z.object(schemas), texts)
  if (result.success) return result.data as Values<S>
  const issue = result.error.issues[0]!
  const key = String(issue.path[0])
  const source = typed(key) === undefined ? variableOf(flagOf(key)) : flagOf(key)
  return command.error(`${source} '${shown(texts[key] ?? '')}': ${issue.message}`)
}

/** A value as an error may repeat it: without what could be a password, and not endless. */
function shown(text: string): string {
  const safe = text.replace(/\/\/[^/]*@/, '//***@')
  return safe.length > 120 ? `${safe.slice(0, 120)}...` : safe
}

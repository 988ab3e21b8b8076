import { FIELDS } from '../../config/pod-fields.ts'
import { readStart } from '../../launcher/langflow-command.ts'
import { asFields, asList, asText, dig, type Fields, type Manifest, titleOf } from '../manifests/manifest.ts'

/** Something that check cannot read. The message is the cause, which every rule that requires it shares. */
export class Unknown extends Error {}

/** The objects that may set variables, and the causes why others cannot be read, by their titles. */
export interface Sources {
  readonly manifests: readonly Manifest[]
  readonly hidden: ReadonlyMap<string, string>
}

/** The value of a variable. `source`: the key that sets it, such as `Secret/langflow url`; `null` if it may not be set. */
type Value =
  | { readonly text: string; readonly source?: string }
  | { readonly cause: string; readonly source: string | null }

/** Texts that stand for fields of the pod, and the variables that `deploy/` and `inject` make of them. No user writes such texts. */
export const POD_FIELDS = [
  { ...FIELDS.name, text: 'name-of-the-pod-0' },
  { ...FIELDS.uid, text: '00000000-0000-0000-0000-000000000000' },
  { ...FIELDS.ip, text: '10.255.254.1' },
] as const

export function isOfPod(value: string): boolean {
  return POD_FIELDS.some(({ text }) => value.includes(text))
}

/** With LangFlow's default log, LangFlow renders tracebacks for minutes if its database is unavailable, and does not answer. */
export const LOG_ENV = { name: 'LANGFLOW_LOG_ENV', value: 'container' } as const

/** The variables of a container, and the command that starts LangFlow, without the launcher before it. */
export class Environment {
  readonly command: readonly string[]
  private readonly values = new Map<string, Value>()
  /** Why any variable may have another value; `null` if all sources are visible. */
  private open: string | null = null
  /** The files of --env-file, which override all variables of LangFlow. */
  private readonly files: string | null

  constructor(container: Fields, sources: Sources) {
    for (const { name, key, ...reference } of referencesIn(container)) {
      const data = dataOf(reference.title, sources)
      if (key === null && data === null) this.open ??= causeOf(reference.title, sources)
      else if (key === null)
        for (const [own, text] of Object.entries(data ?? {})) this.values.set(name + own, { text })
    }
    for (const one of asList(container.env)) this.add(asText(dig(one, 'name')), one, sources)
    const words = [...asList(container.command), ...asList(container.args)].map(asText)
    const start = words.findIndex((word) => /(^|\/)langflow-leader(\.mjs)?$/.test(word))
    this.command = words.slice(start < 0 ? 0 : words.indexOf('--', start) + 1 || words.length)
    const file = /(?:^|\s)--env-file[ =](\S+)/.exec(words.join(' '))?.[1] ?? this.texts().LEADER_ENV_FILE
    this.files = file ? `the file ${file} (--env-file) may set variables` : null
  }

  private add(name: string, variable: unknown, sources: Sources): void {
    const value = dig(variable, 'value')
    const path = dig(variable, 'valueFrom', 'fieldRef', 'fieldPath')
    const [reference] = referencesIn({ env: [variable] })
    if (typeof value === 'string') {
      const text = POD_FIELDS.reduce<string>(
        (own, { variable, text }) => own.replaceAll(`$(${variable})`, text),
        value,
      )
      const cause = `${name} contains other variables`
      this.values.set(name, text.includes('$(') ? { cause, source: '' } : { text })
    } else if (typeof path === 'string')
      this.values.set(name, { text: POD_FIELDS.find((one) => one.path === path)?.text ?? 'a-field' })
    else if (reference !== undefined) {
      const { title, key, optional } = reference
      const source = `${title} ${key}`
      const data = dataOf(title, sources)
      const text = data?.[key!]
      if (text !== undefined) this.values.set(name, { text, source })
      else if (data === null || !optional)
        this.values.set(name, { cause: causeOf(title, sources, key), source: optional ? null : source })
    }
  }

  /** The value of a variable of LangFlow; `null` if it is not set. Throws `Unknown`. */
  value(name: string): string | null {
    const value = this.find(name)
    if (value !== null && 'cause' in value) throw new Unknown(value.cause)
    return value?.text || null
  }

  /** The value of a flag in LangFlow's command; `undefined` if the command does not contain the flag, or a value of it. */
  flag(name: string): string | undefined {
    return RegExp(`--${name}[ =]["']?([\\w.:-]+)`).exec(this.command.join(' '))?.[1]
  }

  /** Whether a variable of LangFlow is set, even if its value is unknown. Throws `Unknown`. */
  isSet(name: string): boolean {
    const value = this.find(name)
    if (value !== null && 'cause' in value && value.source === null) throw new Unknown(value.cause)
    return value !== null && ('cause' in value || value.text !== '')
  }

  /** Two variables with one source have the same value, even if it is unknown. */
  sourceOf(name: string): string | null {
    return this.find(name)?.source ?? null
  }

  private find(name: string): Value | null {
    if (this.files !== null) return { cause: this.files, source: null }
    try {
      const text = this.command.length === 0 ? undefined : this.start().environment[name]
      if (text !== undefined) return { text }
    } catch {
      // The launcher cannot read this command either.
      const cause = 'the start script may set variables'
      if (this.command.join(' ').includes(name) || !this.values.has(name)) return { cause, source: null }
    }
    return this.values.get(name) ?? (this.open === null ? null : { cause: this.open, source: null })
  }

  /** The container's own variables, with `hidden` for each that check cannot read. */
  texts(hidden: string | null = null): Record<string, string> {
    const all = [...this.values].map(([name, value]) => [name, 'text' in value ? value.text : hidden])
    return Object.fromEntries(all.filter(([, text]) => text !== null))
  }

  /** Why a variable of this program is unknown; `null` if check reads all of them. Objects of `envFrom` rarely contain any. */
  get unknownSetting(): string | null {
    for (const [name, value] of this.values)
      if (name.startsWith('LEADER_') && 'cause' in value) return value.cause
    return null
  }

  /** Whether no visible source sets `LOG_ENV`. Secrets do not count as possible sources. */
  get lacksLogEnv(): boolean {
    if (this.values.has(LOG_ENV.name) || this.open?.startsWith('ConfigMap/')) return false
    return this.files === null && !this.command.join(' ').includes(LOG_ENV.name)
  }

  /** Why the launcher cannot keep this LangFlow warm, in one sentence. `null`: no known reason. */
  get whyCold(): string | null {
    try {
      if (this.command.length > 0) this.start()
      return null
    } catch (error) {
      return (error as Error).message
    }
  }

  /** Reads the command as the launcher does. An unknown value counts as one word. Throws if the launcher cannot read the command. */
  private start() {
    const visible = this.texts('x')
    if (this.open !== null)
      for (const [, name = ''] of this.command.join(' ').matchAll(/\$\{?(\w+)/g)) visible[name] ??= 'x'
    // Kubernetes replaces `$(NAME)` before the container starts.
    return readStart(
      this.command.map((word) => word.replace(/\$\(\w+\)/g, 'x')),
      visible,
    )
  }
}

/** The Secrets and ConfigMaps to which a variable (`name`, with a `key`) or an `envFrom` (the prefix `name`) of a container refers. */
export function referencesIn(container: Fields) {
  const sources = asList(container.envFrom).map((one) => [one, asText(dig(one, 'prefix'))] as const)
  const variables = asList(container.env).map(
    (one) => [dig(one, 'valueFrom'), asText(dig(one, 'name'))] as const,
  )
  return [...sources, ...variables].flatMap(([from, name]) => {
    const secret = dig(from, 'secretRef') ?? dig(from, 'secretKeyRef')
    const reference = secret ?? dig(from, 'configMapRef') ?? dig(from, 'configMapKeyRef')
    const { name: object, key = null, optional } = asFields(reference)
    if (typeof object !== 'string') return []
    const title = titleOf({ kind: secret === undefined ? 'ConfigMap' : 'Secret', name: object })
    return { title, name, key: key as string | null, optional: optional === true }
  })
}

function dataOf(title: string, { manifests }: Sources): Record<string, string> | null {
  const found = manifests.find((one) => titleOf(one) === title)
  if (found === undefined) return null
  const { data, stringData } = found.value
  const texts = Object.entries(asFields(data)).map(([key, text]) => [
    key,
    found.kind === 'Secret' ? Buffer.from(asText(text), 'base64').toString() : asText(text),
  ])
  return { ...Object.fromEntries(texts), ...(asFields(stringData) as Record<string, string>) }
}

function causeOf(title: string, { manifests, hidden }: Sources, key: string | null = null): string {
  if (manifests.some((one) => titleOf(one) === title)) return `${title} has no key ${key}`
  return hidden.get(title) ?? `${title} is not in the input`
}

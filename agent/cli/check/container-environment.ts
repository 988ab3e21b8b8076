import { asFields, asList, asText, dig, type Fields, type Manifest } from '../manifests/manifest.ts'
import { Unseen } from './rule.ts'
import { effectOf, type ScriptEffect } from './script-effect.ts'

/** The environment of a container, as read from its manifest and the objects to which it refers. */
export interface Environment {
  /** The container's own variables. A script or a file may override them: `variableOf` has the result. */
  readonly values: Readonly<Record<string, string>>
  /** Variables whose values check cannot see. */
  readonly elsewhere: ReadonlyMap<string, Elsewhere>
  /** Unknown objects in `envFrom`, such as `Secret/langflow`. Any variable may come from them. */
  readonly sources: readonly string[]
  /** Objects that the container requires to start, and that check does not see, such as `Secret/langflow`. */
  readonly unseen: readonly string[]
  /** Variables whose text keeps a `$(NAME)`, which Kubernetes replaces only if NAME is defined before. */
  readonly unresolved: readonly { readonly variable: string; readonly name: string }[]
  /** Files of `--env-file`. They override any variable. */
  readonly files: readonly string[]
  /** Objects and keys that do not exist, but that the container requires to start. */
  readonly missing: readonly Missing[]
  /** The command that starts LangFlow, without the launcher before it; empty for the image's own. */
  readonly command: readonly string[]
  readonly effect: ScriptEffect
}

export interface Missing {
  readonly kind: 'Secret' | 'ConfigMap'
  readonly name: string
  /** The missing key; `null` if the whole object is missing. */
  readonly key: string | null
  /** The variable that refers to the object; `null` for `envFrom`. */
  readonly variable: string | null
}

interface Elsewhere {
  /** Such as `the key url of Secret/langflow`. */
  readonly from: string
  /** Whether the pod starts without the object. */
  readonly optional: boolean
  /** The value, with `HIDDEN` for the parts that check cannot see. */
  readonly text: string
}

/** Stands for a text that check cannot see. */
export const HIDDEN = '\ue000'

/** Placeholders for the values of the downward API. No user writes them. */
export const PLACEHOLDERS = {
  'metadata.name': 'name-of-the-pod-0',
  'metadata.uid': '00000000-0000-0000-0000-000000000000',
  'metadata.namespace': 'default',
  'spec.nodeName': 'node',
  'status.podIP': '10.255.254.1',
} as const

/** Whether a value has a part that each pod has its own value for. */
export function isOfPod(text: string): boolean {
  const own = [PLACEHOLDERS['metadata.name'], PLACEHOLDERS['metadata.uid'], PLACEHOLDERS['status.podIP']]
  return own.some((part) => text.includes(part))
}

/** `absent`: objects that do not exist in the cluster, such as `Secret/langflow`. */
export function environmentOf(
  container: Fields,
  manifests: readonly Manifest[],
  absent: ReadonlySet<string>,
): Environment {
  const variables = new Variables(container, manifests, absent)
  const { values, elsewhere, sources } = variables
  const visible = { ...Object.fromEntries([...elsewhere].map(([name, { text }]) => [name, text])), ...values }
  const words = [...asList(container.command), ...asList(container.args)].map(asText)
  const { own, command } = splitCommand(words.map((word) => expanded(word, visible)))
  const files = [...envFilesIn(own), ...envFilesIn(command), ...(values.LEADER_ENV_FILE ?? '').split(',')]
  const effect = effectOf(command, visible, sources.length === 0)
  return { ...variables, files: files.filter(Boolean), command, effect }
}

/** Collects a container's variables in the order of Kubernetes: `envFrom`, then `env`, which overrides it. */
class Variables {
  readonly values: Record<string, string> = {}
  readonly elsewhere = new Map<string, Elsewhere>()
  readonly sources: string[] = []
  readonly missing: Missing[] = []
  readonly unseen: string[] = []
  readonly unresolved: { variable: string; name: string }[] = []
  readonly #manifests: readonly Manifest[]
  readonly #absent: ReadonlySet<string>

  constructor(container: Fields, manifests: readonly Manifest[], absent: ReadonlySet<string>) {
    this.#manifests = manifests
    this.#absent = absent
    for (const source of asList(container.envFrom)) this.addAll(source)
    for (const variable of asList(container.env)) this.add(asText(dig(variable, 'name')), variable)
  }

  private addAll(source: unknown): void {
    const reference = referenceIn(source, 'secretRef', 'configMapRef')
    if (reference === null) return
    const data = this.dataOf(reference, null)
    const prefix = asText(dig(source, 'prefix'))
    if (data === null) this.sources.push(`${reference.kind}/${reference.name}`)
    for (const key of Object.keys(data ?? {})) this.addReference(prefix + key, { ...reference, key })
  }

  private add(name: string, variable: unknown): void {
    const visible = {
      ...Object.fromEntries([...this.elsewhere].map(([other, { text }]) => [other, text])),
      ...this.values,
    }
    this.elsewhere.delete(name)
    delete this.values[name]
    const value = dig(variable, 'value')
    const path = asText(dig(variable, 'valueFrom', 'fieldRef', 'fieldPath'))
    const reference = keyReferenceIn(variable)
    if (typeof value === 'string') {
      this.addText(name, expanded(value, visible))
      for (const other of unresolvedIn(value, visible))
        if (this.sources.length === 0) this.unresolved.push({ variable: name, name: other })
    } else if (path !== '')
      this.values[name] = (PLACEHOLDERS as Readonly<Record<string, string>>)[path] ?? 'a-label'
    else if (reference !== null) this.addReference(name, reference)
    else if (dig(variable, 'valueFrom') !== undefined)
      this.elsewhere.set(name, { from: 'a field of the pod', optional: false, text: HIDDEN })
  }

  private addText(name: string, text: string): void {
    const from = 'variables that check cannot see'
    if (text.includes(HIDDEN)) this.elsewhere.set(name, { from, optional: false, text })
    else this.values[name] = text
  }

  private addReference(name: string, reference: Reference): void {
    const { kind, key, optional } = reference
    const data = this.dataOf(reference, name)
    const found = data?.[key]
    if (found !== undefined && found !== HIDDEN) this.values[name] = found
    else if (found === HIDDEN || data === null)
      this.elsewhere.set(name, {
        from: `the key ${key} of ${kind}/${reference.name}`,
        optional: optional && data === null,
        text: HIDDEN,
      })
    else if (!optional) this.missing.push({ kind, name: reference.name, key, variable: name })
  }

  /** `null` if the object is unknown. */
  private dataOf(
    { kind, name, optional }: Reference,
    variable: string | null,
  ): Record<string, string> | null {
    const found = this.#manifests.find((one) => one.kind === kind && one.name === name)
    if (found !== undefined) return dataIn(found)
    const written = kind === 'Secret' ? writtenKeys(name, this.#manifests) : null
    if (written !== null) return written
    if (!this.#absent.has(`${kind}/${name}`)) {
      if (!optional) this.unseen.push(`${kind}/${name}`)
      return null
    }
    if (optional) return {}
    this.missing.push({ kind, name, key: null, variable })
    return null
  }
}

/** Replaces `$(NAME)` as Kubernetes does: an unknown name stays, and `$$` is a dollar sign. */
function expanded(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([\w.-]+)\)/g, (all, name?: string) =>
    name === undefined ? '$' : (values[name] ?? all),
  )
}

/** The names in a text that no variable has. */
function unresolvedIn(text: string, values: Readonly<Record<string, string>>): string[] {
  const names = [...text.matchAll(/\$\$|\$\(([A-Za-z_][\w.-]*)\)/g)].flatMap(([, name]) => name ?? [])
  return names.filter((name) => !(name in values))
}

/** The words of the launcher (`own`), and the command after them. */
function splitCommand(words: readonly string[]): { own: readonly string[]; command: readonly string[] } {
  const at = words.findIndex((word) => /(^|\/)langflow-leader(\.mjs)?$/.test(word))
  if (at < 0) return { own: [], command: words }
  const end = words.indexOf('--', at)
  return end < 0 ? { own: words, command: [] } : { own: words.slice(0, end), command: words.slice(end + 1) }
}

/** The files of `--env-file`, a flag of the launcher and of LangFlow. Only a running container can read them. */
function envFilesIn(words: readonly string[]): string[] {
  return words.flatMap((word, index) => {
    if (word === '--env-file') return words[index + 1] ?? []
    return word.startsWith('--env-file=') ? word.slice('--env-file='.length) : []
  })
}

/** One variable of a container. */
export interface Variable {
  /** `null` if the variable is not set, or check does not see all of its value. */
  readonly value: string | null
  /** `null` if unknown. */
  readonly isSet: boolean | null
  /** The reason why the value is unknown. */
  readonly why: string
  /** The value, with `HIDDEN` for the parts that check cannot see. `null` if there is no value, or all of it is hidden. */
  readonly text: string | null
}

/** A variable of LangFlow, after files and the script of its container. */
export function variableOf(environment: Environment, name: string): Variable {
  const { files, effect } = environment
  if (files.length > 0)
    return unknown(`${name} may come from ${files.map((file) => `the file ${file}`).join(' or ')}`)
  const set = effect.sets[name]
  if (set !== undefined) return known(set, `the script of its container sets ${name}`)
  const why = effect.maySet(name)
  return why === null ? givenVariable(environment, name) : unknown(why)
}

/** A variable of the container itself. */
export function givenVariable({ values, elsewhere, sources }: Environment, name: string): Variable {
  const value = values[name]
  if (value !== undefined) return known(value, '')
  const place = elsewhere.get(name)
  if (place?.optional === false) return known(place.text, `${name} comes from ${place.from}`)
  if (place === undefined && sources.length === 0) return known('', '')
  return unknown(`${name} may come from ${place?.from ?? sources.join(' or ')}`)
}

/** `text`: the value, with `HIDDEN` for hidden parts; '' if the variable is not set. */
function known(text: string, why: string): Variable {
  const isVisible = text !== '' && !text.includes(HIDDEN)
  return {
    value: isVisible ? text : null,
    isSet: text !== '',
    why,
    text: text === HIDDEN || text === '' ? null : text,
  }
}

function unknown(why: string): Variable {
  return { value: null, isSet: null, why, text: null }
}

/** The value of a variable of LangFlow; `null` if it is not set. Throws `Unseen`. */
export function valueIn(environment: Environment, name: string): string | null {
  const { value, isSet, why } = variableOf(environment, name)
  if (value === null && isSet !== false) throw new Unseen(why)
  return value
}

/** Whether a variable of LangFlow is set, even if its value is unknown. Throws `Unseen`. */
export function isSet(environment: Environment, name: string): boolean {
  const variable = variableOf(environment, name)
  if (variable.isSet === null) throw new Unseen(variable.why)
  return variable.isSet
}

/** The values that pydantic reads as true. */
export function isTruth(value: string | null | undefined): boolean {
  return /^(1|t|true|y|yes|on)$/i.test(value ?? '')
}

/** With LangFlow's default log, LangFlow renders tracebacks for minutes if its database is unavailable, and does not answer. */
export const LOG_ENV = { name: 'LANGFLOW_LOG_ENV', value: 'container' } as const

/** Whether no known source sets the variable. Secrets do not count as possible sources. */
export function lacksLogEnv(environment: Environment): boolean {
  const { name } = LOG_ENV
  const sources = environment.sources.filter((source) => source.startsWith('ConfigMap/'))
  return !(name in environment.values) && variableOf({ ...environment, sources }, name).isSet === false
}

/** The objects to which a container's variables refer. */
export function* objectsNamedBy(container: Fields): Generator<Reference> {
  for (const source of asList(container.envFrom)) {
    const reference = referenceIn(source, 'secretRef', 'configMapRef')
    if (reference !== null) yield reference
  }
  for (const one of asList(container.env)) {
    const reference = keyReferenceIn(one)
    if (reference !== null) yield reference
  }
}

export interface Reference {
  readonly kind: 'Secret' | 'ConfigMap'
  readonly name: string
  /** The key for one variable; '' for the whole object. */
  readonly key: string
  readonly optional: boolean
}

function keyReferenceIn(variable: unknown): Reference | null {
  return referenceIn(dig(variable, 'valueFrom'), 'secretKeyRef', 'configMapKeyRef')
}

function referenceIn(value: unknown, secret: string, configMap: string): Reference | null {
  for (const [field, kind] of [
    [secret, 'Secret'],
    [configMap, 'ConfigMap'],
  ] as const) {
    const { name, key, optional } = asFields(dig(value, field))
    if (asText(name) !== '')
      return { kind, name: asText(name), key: asText(key), optional: optional === true }
  }
  return null
}

function dataIn({ kind, value }: Manifest): Record<string, string> {
  const decoded = Object.entries(asFields(value.data)).map(([key, text]) => [
    key,
    kind === 'Secret' ? Buffer.from(asText(text), 'base64').toString() : asText(text),
  ])
  const plain = Object.entries(asFields(value.stringData)).map(([key, text]) => [key, asText(text)])
  return Object.fromEntries([...decoded, ...plain])
}

/** The keys that an operator writes into a Secret, by an object of the stream; `null` if check cannot see all of them. */
function writtenKeys(secret: string, manifests: readonly Manifest[]): Record<string, string> | null {
  for (const { kind, name, value } of manifests) {
    if (kind !== 'SealedSecret' && kind !== 'ExternalSecret') continue
    const spec = asFields(value.spec)
    const { name: target = name, creationPolicy = 'Owner', template } = asFields(spec.target)
    if (kind === 'SealedSecret' && name === secret)
      return hiddenValues({ ...asFields(spec.encryptedData), ...asFields(dig(spec.template, 'data')) })
    if (kind === 'SealedSecret' || target !== secret) continue
    const isOpen = asList(spec.dataFrom).length > 0 || asList(dig(template, 'templateFrom')).length > 0
    if (isOpen || creationPolicy !== 'Owner') return null
    const own = Object.fromEntries(asList(spec.data).map((one) => [asText(dig(one, 'secretKey')), true]))
    const made = dig(template, 'data')
    const isKept = made === undefined || dig(template, 'mergePolicy') === 'Merge'
    return hiddenValues({ ...(isKept ? own : {}), ...asFields(made) })
  }
  return null
}

function hiddenValues(keys: Readonly<Fields>): Record<string, string> {
  return Object.fromEntries(Object.keys(keys).map((key) => [key, HIDDEN]))
}

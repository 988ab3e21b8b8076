import { asFields, asList, asText, dig, type Fields, type Manifest } from '../manifests/manifest.ts'

/** The environment of a container, as read from its manifest and the objects to which it refers. */
export interface Environment {
  readonly values: Readonly<Record<string, string>>
  /** Variables from an unknown object. */
  readonly elsewhere: ReadonlyMap<string, Elsewhere>
  /** Unknown objects in `envFrom`, such as `Secret/langflow`, and files of `--env-file`. Any variable may come from them. */
  readonly sources: readonly string[]
  /** Objects that do not exist, but that the container requires to start. */
  readonly missing: readonly Missing[]
}

export interface Missing {
  readonly kind: 'Secret' | 'ConfigMap'
  readonly name: string
  /** The variable that refers to the object; `null` for `envFrom`. */
  readonly variable: string | null
}

interface Elsewhere {
  /** Such as `the key url of Secret/langflow`. */
  readonly from: string
  /** Whether the pod starts without the object. */
  readonly optional: boolean
}

/** Placeholders for the values of the downward API. */
const DOWNWARD: Readonly<Record<string, string>> = {
  'metadata.name': 'pod-0',
  'metadata.uid': '00000000-0000-0000-0000-000000000000',
  'metadata.namespace': 'default',
  'spec.nodeName': 'node',
  'status.podIP': '10.0.0.1',
}

/** `absent`: objects that do not exist in the cluster, such as `Secret/langflow`. */
export function environmentOf(
  container: Fields,
  manifests: readonly Manifest[],
  absent: ReadonlySet<string>,
): Environment {
  const values: Record<string, string> = {}
  const elsewhere = new Map<string, Elsewhere>()
  const sources: string[] = []
  const missing: Missing[] = []
  /** `null` if the object is unknown. */
  const dataOf = ({ kind, name, optional }: Reference, variable: string | null) => {
    const found = manifests.find((one) => one.kind === kind && one.name === name)
    if (found !== undefined) return dataIn(found)
    const isGone = absent.has(`${kind}/${name}`)
    if (isGone && optional) return {}
    if (isGone) missing.push({ kind, name, variable })
    return null
  }
  for (const source of asList(container.envFrom)) {
    const reference = referenceIn(source, 'secretRef', 'configMapRef')
    if (reference === null) continue
    const data = dataOf(reference, null)
    if (data === null) sources.push(`${reference.kind}/${reference.name}`)
    for (const [own, value] of Object.entries(data ?? {})) values[asText(dig(source, 'prefix')) + own] = value
  }
  for (const one of asList(container.env)) {
    const name = asText(dig(one, 'name'))
    elsewhere.delete(name)
    delete values[name]
    const value = dig(one, 'value')
    const path = asText(dig(one, 'valueFrom', 'fieldRef', 'fieldPath'))
    const reference = keyReferenceIn(one)
    if (typeof value === 'string') values[name] = value
    else if (path !== '') values[name] = DOWNWARD[path] ?? 'a-label'
    else if (reference !== null) {
      const { kind, key, optional } = reference
      const data = dataOf(reference, name)
      const found = data?.[key]
      if (found !== undefined) values[name] = found
      if (data === null)
        elsewhere.set(name, { from: `the key ${key} of ${kind}/${reference.name}`, optional })
    }
  }
  const files = envFilesOf(container, values)
  return { values, elsewhere, sources: [...sources, ...files], missing }
}

/** The files of `--env-file`. Only a running launcher can read them. */
function envFilesOf({ command, args }: Fields, values: Readonly<Record<string, string>>): string[] {
  const words = [...asList(command), ...asList(args)].map(asText)
  const flags = words.flatMap((word, index) => {
    if (word === '--env-file') return words[index + 1] ?? []
    return word.startsWith('--env-file=') ? word.slice('--env-file='.length) : []
  })
  const variable = values.LEADER_ENV_FILE ? [values.LEADER_ENV_FILE] : []
  return [...flags, ...variable].map((path) => `the file ${path}`)
}

/** One variable of a container. */
export interface Variable {
  /** `null` if the variable is not set, or its value is unknown. */
  readonly value: string | null
  /** `null` if unknown. */
  readonly isSet: boolean | null
  /** The reason why the value is unknown. */
  readonly why: string
}

export function variableOf(
  { command, args }: Fields,
  { values, elsewhere, sources }: Environment,
  name: string,
): Variable {
  const value = values[name] || null
  if (value !== null) return { value, isSet: true, why: '' }
  const place = elsewhere.get(name)
  if (place?.optional === false) return { value, isSet: true, why: `${name} comes from ${place.from}` }
  if (place !== undefined || sources.length > 0)
    return { value, isSet: null, why: `${name} may come from ${place?.from ?? sources.join(' or ')}` }
  const isInScript = [...asList(command), ...asList(args)].join(' ').includes(name)
  return { value, isSet: isInScript ? null : false, why: `the command of its container mentions ${name}` }
}

/** With LangFlow's default log, LangFlow renders tracebacks for minutes if its database is unavailable, and does not answer. */
export const LOG_ENV = { name: 'LANGFLOW_LOG_ENV', value: 'container' } as const

/** Whether no known source sets the variable. Secrets do not count as possible sources. */
export function lacksLogEnv(langflow: Fields, environment: Environment): boolean {
  const { name } = LOG_ENV
  const sources = environment.sources.filter((source) => source.startsWith('ConfigMap/'))
  return (
    !(name in environment.values) && variableOf(langflow, { ...environment, sources }, name).isSet === false
  )
}

/** The objects to which a container refers in `envFrom`, and in variables whose names match `wanted`. */
export function* objectsNamedBy(container: Fields, wanted: RegExp): Generator<Reference> {
  for (const source of asList(container.envFrom)) {
    const reference = referenceIn(source, 'secretRef', 'configMapRef')
    if (reference !== null) yield reference
  }
  for (const one of asList(container.env)) {
    const reference = keyReferenceIn(one)
    if (reference !== null && wanted.test(asText(dig(one, 'name')))) yield reference
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

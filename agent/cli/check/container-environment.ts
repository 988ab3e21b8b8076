import { asFields, asList, asText, dig, type Fields, type Manifest } from '../manifests/manifest.ts'

/** The environment of a container, as far as its manifest and the objects that it names tell. */
export interface Environment {
  readonly values: Readonly<Record<string, string>>
  /** Variables that come from an object which is not known here, with the place: `the key url of Secret/langflow`. */
  readonly elsewhere: ReadonlyMap<string, Elsewhere>
  /** Whole objects that are not known here, such as `Secret/langflow`: any variable may come from them. */
  readonly sources: readonly string[]
  /** Objects that do not exist, and without which no container starts, each with what comes from it. */
  readonly missing: readonly Missing[]
}

export interface Missing {
  readonly kind: 'Secret' | 'ConfigMap'
  readonly name: string
  /** `null`: any variable. */
  readonly variable: string | null
}

interface Elsewhere {
  readonly from: string
  /** The pod starts without it. */
  readonly optional: boolean
}

/** What the downward API would say. */
const DOWNWARD: Readonly<Record<string, string>> = {
  'metadata.name': 'pod-0',
  'metadata.uid': '00000000-0000-0000-0000-000000000000',
  'metadata.namespace': 'default',
  'spec.nodeName': 'node',
  'status.podIP': '10.0.0.1',
}

/** `absent`: what certainly does not exist, such as `Secret/langflow`. */
export function environmentOf(
  container: Fields,
  manifests: readonly Manifest[],
  absent: ReadonlySet<string>,
): Environment {
  const values: Record<string, string> = {}
  const elsewhere = new Map<string, Elsewhere>()
  const sources: string[] = []
  const missing: Missing[] = []
  for (const source of asList(container.envFrom)) {
    const [kind, key] =
      'secretRef' in asFields(source)
        ? (['Secret', 'secretRef'] as const)
        : (['ConfigMap', 'configMapRef'] as const)
    const name = asText(dig(source, key, 'name'))
    const data = dataOf(manifests, kind, name)
    const optional = dig(source, key, 'optional') === true
    const isGone = absent.has(`${kind}/${name}`)
    if (isGone && !optional) missing.push({ kind, name, variable: null })
    if (data === null && !(isGone && optional)) sources.push(`${kind}/${name}`)
    for (const [own, value] of Object.entries(data ?? {})) values[asText(dig(source, 'prefix')) + own] = value
  }
  for (const one of asList(container.env)) {
    const name = asText(dig(one, 'name'))
    elsewhere.delete(name)
    delete values[name]
    const value = dig(one, 'value')
    const path = asText(dig(one, 'valueFrom', 'fieldRef', 'fieldPath'))
    if (typeof value === 'string') values[name] = value
    else if (path !== '') values[name] = DOWNWARD[path] ?? 'a-label'
    else {
      const reference = referenceOf(one)
      if (reference === null) continue
      const { kind, object, key, optional } = reference
      const isGone = absent.has(`${kind}/${object}`)
      if (isGone && !optional) missing.push({ kind, name: object, variable: name })
      const data = dataOf(manifests, kind, object) ?? (isGone && optional ? {} : null)
      const found = data?.[key]
      if (found !== undefined) values[name] = found
      else if (data === null) elsewhere.set(name, { from: `the key ${key} of ${kind}/${object}`, optional })
    }
  }
  return { values, elsewhere, sources, missing }
}

/** Whether nothing sets a variable; `null`: that cannot be known. */
export function isAbsent(environment: Environment, name: string): boolean | null {
  if (environment.values[name]) return false
  if (environment.elsewhere.has(name)) return environment.elsewhere.get(name)!.optional ? null : false
  return environment.sources.length > 0 ? null : true
}

/** By default LangFlow renders tracebacks for minutes where its database is away, and answers nothing meanwhile. */
export const LOG_ENV = { name: 'LANGFLOW_LOG_ENV', value: 'container' } as const

/** Whether nothing that is known here sets it. No Secret is taken for a place of it. */
export function lacksLogEnv({ command, args }: Fields, { values, elsewhere, sources }: Environment): boolean {
  const { name } = LOG_ENV
  const words = [...asList(command), ...asList(args)].join(' ')
  const isSet = name in values || elsewhere.has(name) || words.includes(name)
  return !isSet && !sources.some((source) => source.startsWith('ConfigMap/'))
}

/** The Secrets that a container's volumes show it. */
export function* secretsMounted(container: Fields, pod: Fields): Generator<string> {
  for (const volume of asList(pod.volumes)) {
    const name = dig(volume, 'name')
    if (asList(container.volumeMounts).some((mount) => dig(mount, 'name') === name)) yield* secretsIn(volume)
  }
}

/** The Secrets that a volume shows. */
export function* secretsIn(volume: unknown): Generator<string> {
  const own = dig(volume, 'secret', 'secretName')
  const projected = asList(dig(volume, 'projected', 'sources')).map((source) => dig(source, 'secret', 'name'))
  for (const name of [own, ...projected]) if (typeof name === 'string') yield name
}

/** The objects that a container's variables come from: whole ones, and those with a variable of such a name. */
export function* objectsNamedBy(
  container: Fields,
  wanted: RegExp,
): Generator<{ kind: 'Secret' | 'ConfigMap'; name: string }> {
  for (const source of asList(container.envFrom)) {
    const secret = asText(dig(source, 'secretRef', 'name'))
    const map = asText(dig(source, 'configMapRef', 'name'))
    if (secret !== '') yield { kind: 'Secret', name: secret }
    if (map !== '') yield { kind: 'ConfigMap', name: map }
  }
  for (const one of asList(container.env)) {
    const reference = referenceOf(one)
    if (reference !== null && wanted.test(asText(dig(one, 'name'))))
      yield { kind: reference.kind, name: reference.object }
  }
}

function referenceOf(one: unknown) {
  for (const [field, kind] of [
    ['secretKeyRef', 'Secret'],
    ['configMapKeyRef', 'ConfigMap'],
  ] as const) {
    const reference = asFields(dig(one, 'valueFrom', field))
    if (Object.keys(reference).length === 0) continue
    const optional = reference.optional === true
    return { kind, object: asText(reference.name), key: asText(reference.key), optional }
  }
  return null
}

/** `null`: the object is not known here. */
function dataOf(manifests: readonly Manifest[], kind: string, name: string): Record<string, string> | null {
  const found = manifests.find((one) => one.kind === kind && one.name === name)
  if (found === undefined) return null
  const decoded = Object.entries(asFields(found.value.data)).map(([key, value]) => [
    key,
    kind === 'Secret' ? Buffer.from(asText(value), 'base64').toString() : asText(value),
  ])
  const plain = Object.entries(asFields(found.value.stringData)).map(([key, value]) => [key, asText(value)])
  return Object.fromEntries([...decoded, ...plain])
}

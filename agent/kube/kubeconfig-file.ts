import { readFileSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { load } from 'js-yaml'
import { KubeConfigError } from './access.ts'

type Fields = Record<string, unknown>

/** One context of a kubeconfig with what it names, as written in YAML, its paths made absolute. */
export interface KubeconfigContext {
  readonly name: string
  readonly context: Fields
  readonly cluster: Fields
  readonly user: Fields
}

type Entry = Fields & { name: string }
type Section = 'contexts' | 'clusters' | 'users'
type Document = { readonly [section in Section]: readonly Entry[] } & { readonly current: string | undefined }

const PATH_FIELDS = {
  contexts: [],
  clusters: ['certificate-authority'],
  users: ['client-certificate', 'client-key', 'tokenFile'],
} as const satisfies Record<Section, readonly string[]>

/** What changes when one of the files does. */
export function fileSignature(paths: readonly string[]): string {
  return paths
    .map((path) => {
      try {
        const stat = statSync(path, { throwIfNoEntry: false, bigint: true })
        return stat === undefined ? '-' : `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}`
      } catch (error) {
        return String((error as NodeJS.ErrnoException).code) // what reads it says the rest
      }
    })
    .join(',')
}

/**
 * Reads a context out of one or more kubeconfig files, merged as kubectl merges them: of two entries with one name the
 * first counts, and a missing file is passed over as long as another exists.
 *
 * @param wanted the context, or `undefined` for the current one
 */
export function readKubeconfig(paths: readonly string[], wanted: string | undefined): KubeconfigContext {
  const label = paths.join(', ')
  const existing = paths.length === 1 ? paths : paths.filter((path) => fileSignature([path]) !== '-')
  if (existing.length === 0) throw new KubeConfigError(`none of the kubeconfig files ${label} exists`)
  const documents = existing.map(parseFile)
  const entries = (section: Section) => documents.flatMap((document) => document[section])

  const name = wanted ?? documents.find((document) => document.current !== undefined)?.current
  if (name === undefined) {
    throw new KubeConfigError(
      `kubeconfig ${label} has no current-context: choose one with 'kubectl config use-context NAME'`,
    )
  }
  const pick = (section: Section, wantedName: string, wantedBy: string): Fields => {
    const kind = section.slice(0, -1)
    const found = entries(section).find((entry) => entry.name === wantedName)
    if (found !== undefined) return (found[kind] as Fields | null | undefined) ?? {}
    const others = entries(section).map((entry) => entry.name)
    throw new KubeConfigError(
      `kubeconfig ${label} has no ${kind} "${wantedName}", which ${wantedBy} names` +
        ` (it has ${others.length === 0 ? 'none' : others.join(', ')})`,
    )
  }
  const context = pick('contexts', name, 'current-context')
  const by = `the context "${name}"`
  return {
    name,
    context,
    cluster: pick('clusters', String(context.cluster ?? ''), by),
    user: context.user ? pick('users', String(context.user), by) : {},
  }
}

function parseFile(path: string): Document {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    throw new KubeConfigError(
      code === 'ENOENT' ? `kubeconfig ${path} does not exist` : `cannot read kubeconfig ${path} (${code})`,
      { cause },
    )
  }
  const root = parseYaml(path, text)
  const current = root['current-context']
  const section = (name: Section) => entriesOf(path, root, name)
  return {
    contexts: section('contexts'),
    clusters: section('clusters'),
    users: section('users'),
    current: typeof current === 'string' && current !== '' ? current : undefined,
  }
}

function parseYaml(path: string, text: string): Fields {
  let root: unknown
  try {
    root = load(text)
  } catch (cause) {
    // The parser's own message quotes the lines around the fault, which may hold a token.
    const { reason, mark } = cause as { reason?: string; mark?: { line: number } }
    const line = mark === undefined ? '' : ` at line ${mark.line + 1}`
    throw new KubeConfigError(
      `kubeconfig ${path} is no valid YAML${line}: ${reason ?? 'it cannot be parsed'}`,
    )
  }
  if (isFields(root)) return root
  throw new KubeConfigError(`kubeconfig ${path} is not a kubeconfig: it holds no YAML mapping`)
}

function entriesOf(path: string, root: Fields, section: Section): Entry[] {
  const list = root[section] ?? []
  if (!Array.isArray(list)) throw new KubeConfigError(`kubeconfig ${path}: "${section}" must be a list`)
  return list.filter(isEntry).map((entry) => {
    const kind = section.slice(0, -1)
    const fields: Fields = isFields(entry[kind]) ? { ...entry[kind] } : {}
    for (const field of PATH_FIELDS[section]) resolvePath(fields, field, dirname(path))
    // A bare command name is looked up in $PATH; a path with a slash is the kubeconfig's own.
    const exec = fields.exec
    if (isFields(exec) && String(exec.command).includes('/')) {
      fields.exec = { ...exec }
      resolvePath(fields.exec as Fields, 'command', dirname(path))
    }
    return { name: entry.name, [kind]: fields }
  })
}

function resolvePath(fields: Fields, field: string, directory: string): void {
  const path = fields[field]
  if (typeof path === 'string' && path !== '' && !isAbsolute(path)) fields[field] = join(directory, path)
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isEntry(value: unknown): value is Entry {
  return isFields(value) && typeof value.name === 'string'
}

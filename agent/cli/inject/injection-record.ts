import * as z from 'zod/mini'
import { VERSION } from '../../version.ts'
import { asList, dig, type Fields, isFields, type Manifest, unfit } from '../manifests/manifest.ts'

const PATH = z.array(z.union([z.string(), z.object({ name: z.string() })]))
/** Through maps by their keys, and to an item of a list by its `name`, since its place may change. */
export type Path = z.infer<typeof PATH>

/** What a key is given: a value, or something at the head of its list. With neither it is taken out. */
export interface Edit {
  readonly path: Path
  readonly to?: unknown
  readonly head?: readonly (string | { readonly name: string })[]
}

/** Where an object keeps what was changed in it, and what was there before. */
export const RECORD = 'langflow-leader/injected'
const CHANGE = z.object({
  path: PATH,
  /** What the key had; absent: it was not there. Of a list, only where nothing was in it. */
  before: z.optional(z.unknown()),
  /** What was put at the head of the list: words, or the names of items. */
  head: z.optional(z.array(z.string())),
  /** It was taken out from behind this key; `null`: it was the first. */
  after: z.optional(z.nullable(z.string())),
})
export type Change = z.infer<typeof CHANGE>
const CONTENT = z.object({
  version: z.string(),
  changes: z.array(CHANGE),
  /** What was there instead of annotations. */
  before: z.optional(z.unknown()),
})

/** Edits an object, and keeps in its annotations what it takes to undo that, whoever changes it since. */
export function edit(manifest: Manifest, edits: Iterable<Edit>): readonly Change[] {
  const changes = [...edits].flatMap((one) => apply(manifest, one))
  const metadata = mapAt(manifest, ['metadata'])
  const annotations = metadata.annotations ?? {}
  if (!isFields(annotations)) throw unfit(manifest, 'metadata.annotations is not a map')
  const saved = Object.keys(annotations).length > 0 ? {} : savedOf(metadata, 'annotations')
  const record = JSON.stringify({ version: VERSION, changes, ...saved })
  metadata.annotations = { ...annotations, [RECORD]: record }
  return changes
}

function apply(manifest: Manifest, { path, to, head }: Edit): Change[] {
  const map = mapAt(manifest, path.slice(0, -1))
  const key = String(path.at(-1))
  const saved = savedOf(map, key)
  if (head !== undefined) {
    const list = map[key] ?? []
    if (!Array.isArray(list)) throw unfit(manifest, `${shown(path)} is not a list`)
    map[key] = [...head, ...list]
    const names = head.map((one) => (typeof one === 'string' ? one : one.name))
    return [{ path, head: names, ...(list.length > 0 ? {} : saved) }]
  }
  if (to !== undefined) {
    map[key] = to
    return [{ path, ...saved }]
  }
  if (!(key in map)) return []
  const keys = Object.keys(map)
  delete map[key]
  return [{ path, ...saved, after: keys[keys.indexOf(key) - 1] ?? null }]
}

/** Undoes what the object's record tells, and removes the record. Throws `FatalError`. */
export function undo(manifest: Manifest): void {
  const { changes, ...saved } = readRecord(manifest)
  const metadata = mapAt(manifest, ['metadata'])
  const { [RECORD]: _, ...others } = mapAt(manifest, ['metadata', 'annotations'])
  if (Object.keys(others).length > 0) metadata.annotations = others
  else restore(metadata, 'annotations', saved)
  for (const change of changes.toReversed()) undoChange(manifest, change)
}

function readRecord({ value, ...manifest }: Manifest): z.infer<typeof CONTENT> {
  try {
    return z.parse(CONTENT, JSON.parse(String(dig(value, 'metadata', 'annotations', RECORD))))
  } catch {
    throw unfit(
      manifest,
      `its annotation ${RECORD} is not as this inject writes it: take out what inject added with the version that added it, or by hand`,
    )
  }
}

function undoChange({ value }: Manifest, { path, head, after, ...saved }: Change): void {
  const map = follow(value, path.slice(0, -1))
  const key = String(path.at(-1))
  if (!isFields(map)) return
  const now = map[key]
  if (head !== undefined) {
    if (!Array.isArray(now)) return
    const theirs = without(now, head)
    if (theirs.length > 0) map[key] = theirs
    else restore(map, key, saved)
  } else if (after === undefined) restore(map, key, saved)
  // Unless somebody has given it such a key again.
  else if (!(key in map)) {
    const later = Object.entries(map).slice(Object.keys(map).indexOf(after ?? '') + 1)
    map[key] = saved.before
    for (const [name, one] of later) {
      delete map[name]
      map[name] = one
    }
  }
}

/** Words only where all stand at the head; items wherever they are. */
function without(list: readonly unknown[], head: readonly string[]): unknown[] {
  if (head.every((word, i) => list[i] === word)) return list.slice(head.length)
  return list.filter((item) => !head.some((name) => dig(item, 'name') === name))
}

function savedOf(map: Fields, key: string): { before?: unknown } {
  return key in map ? { before: map[key] } : {}
}

function restore(map: Fields, key: string, saved: { before?: unknown }): void {
  if ('before' in saved) map[key] = saved.before
  else delete map[key]
}

function mapAt(manifest: Manifest, path: Path): Fields {
  const map = follow(manifest.value, path)
  if (!isFields(map)) throw unfit(manifest, `${shown(path)} is not a map`)
  return map
}

function follow(value: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (at, step) =>
      typeof step === 'string' ? dig(at, step) : asList(at).find((item) => dig(item, 'name') === step.name),
    value,
  )
}

/** As people write it: spec.template.spec.containers[langflow] */
export function shown(path: Path): string {
  return path
    .map((step) => (typeof step === 'object' ? `[${step.name}]` : `.${step}`))
    .join('')
    .replace(/^\./, '')
}

import * as z from 'zod/mini'
import { VERSION } from '../../version.ts'
import { asList, dig, type Fields, isFields, type Manifest, unfit } from '../manifests/manifest.ts'

const PATH = z.array(z.union([z.string(), z.object({ name: z.string() })]))
/** A path through maps by their keys, and through lists by the `name` of an item, because its index may change. */
export type Path = z.infer<typeof PATH>

/** Sets a key to a value (`to`), or adds items at the head of its list (`head`). Without either, the key is removed. */
export interface Edit {
  readonly path: Path
  readonly to?: unknown
  readonly head?: readonly (string | { readonly name: string })[]
}

/** The annotation that records the changes of an object, with the earlier values. */
export const RECORD = 'langflow-leader/injected'
const CHANGE = z.object({
  path: PATH,
  /** The earlier value; absent if the key was absent. */
  before: z.optional(z.unknown()),
  /** The items that were added at the head of the list: words, or the names of items. */
  head: z.optional(z.array(z.string())),
  /** The key was removed. */
  removed: z.optional(z.boolean()),
})
type Change = z.infer<typeof CHANGE>
const CONTENT = z.object({ version: z.string(), changes: z.array(CHANGE) })

/** Edits an object, and records the changes in an annotation, for `undo`. Returns the changed places. Throws `FatalError`. */
export function edit(manifest: Manifest, edits: readonly Edit[]): readonly string[] {
  const changes = edits.flatMap((one) => apply(manifest, one))
  const metadata = mapAt(manifest, ['metadata'])
  const record = JSON.stringify({ version: VERSION, changes })
  metadata.annotations = { ...(metadata.annotations as Fields | null), [RECORD]: record }
  return changes.map(({ path }) => shown(path))
}

function apply(manifest: Manifest, { path, to, head }: Edit): Change[] {
  const map = mapAt(manifest, path.slice(0, -1))
  const key = String(path.at(-1))
  if (head !== undefined) {
    const list = map[key] ?? []
    if (!Array.isArray(list)) throw unfit(manifest, `${shown(path)} is not a list`)
    map[key] = [...head, ...list]
    return [{ path, head: head.map((one) => (typeof one === 'string' ? one : one.name)) }]
  }
  const before = key in map ? { before: map[key] } : {}
  if (to !== undefined) {
    map[key] = to
    return [{ path, ...before }]
  }
  if (!(key in map)) return []
  delete map[key]
  return [{ path, ...before, removed: true }]
}

/** Undoes the changes in the object's record, and removes the record. Later changes by others stay. Throws `FatalError`. */
export function undo(manifest: Manifest): void {
  const changes = readRecord(manifest)
  const annotations = mapAt(manifest, ['metadata', 'annotations'])
  delete annotations[RECORD]
  if (Object.keys(annotations).length === 0) delete mapAt(manifest, ['metadata']).annotations
  for (const change of changes.toReversed()) undoChange(manifest, change)
}

function readRecord({ value, ...manifest }: Manifest): readonly Change[] {
  try {
    return z.parse(CONTENT, JSON.parse(String(dig(value, 'metadata', 'annotations', RECORD)))).changes
  } catch {
    throw unfit(
      manifest,
      `cannot restore it, because its annotation ${RECORD} is damaged or of another version: run inject --uninject of the version that changed it, or remove the changes by hand`,
    )
  }
}

function undoChange(manifest: Manifest, { path, head, removed = false, ...saved }: Change): void {
  const map = mapAt(manifest, path.slice(0, -1))
  const key = String(path.at(-1))
  if (head !== undefined) {
    const rest = without(asList(map[key]), head)
    if (rest.length > 0) map[key] = rest
    else delete map[key]
  } else if (!('before' in saved)) delete map[key]
  else if (!removed || !(key in map)) map[key] = saved.before
}

/** The list without these items. Words are removed only if they are still at the head, named items at any place. */
function without(list: readonly unknown[], head: readonly string[]): unknown[] {
  if (head.every((word, i) => list[i] === word)) return list.slice(head.length)
  return list.filter((item) => !head.some((name) => dig(item, 'name') === name))
}

function mapAt(manifest: Manifest, path: Path): Fields {
  const map = path.reduce<unknown>(
    (at, step) =>
      typeof step === 'string' ? dig(at, step) : asList(at).find((item) => dig(item, 'name') === step.name),
    manifest.value,
  )
  if (!isFields(map)) throw unfit(manifest, `it has no ${shown(path)}, which inject changes: add it`)
  return map
}

/** A path for people, relative to the pod if it is in the pod: `containers[langflow].command`. */
function shown(path: Path): string {
  return path
    .map((step) => (typeof step === 'object' ? `[${step.name}]` : `.${step}`))
    .join('')
    .replace(/^\.(spec\.template\.spec\.)?/, '')
}

import { asList, dig, type Fields, isFields, type Manifest, unfit } from '../manifests/manifest.ts'

/** A path through maps by their keys, and through lists by the `name` of an item. */
export type Path = readonly (string | { readonly name: string })[]

/** Sets a key to a value (`to`), or adds items at the head of its list (`head`). Without either, the key is removed. */
export interface Edit {
  readonly path: Path
  readonly to?: unknown
  readonly head?: readonly unknown[]
}

/** Edits an object. Returns the changed places. Throws `FatalError`. */
export function edit(manifest: Manifest, edits: readonly Edit[]): readonly string[] {
  for (const { path, to, head } of edits) {
    const map = mapAt(manifest, path.slice(0, -1))
    const key = String(path.at(-1))
    const list = map[key] ?? []
    if (head !== undefined && !Array.isArray(list)) throw unfit(manifest, `${shown(path)} is not a list`)
    if (head !== undefined) map[key] = [...head, ...asList(list)]
    else if (to !== undefined) map[key] = to
    else delete map[key]
  }
  return [...new Set(edits.map(({ path }) => shown(path)))]
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

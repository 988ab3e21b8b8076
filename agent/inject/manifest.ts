import { FatalError } from '../exit.ts'
import type { Path } from './text/yaml-text.ts'
import { Unfit } from './unfit.ts'
import { asFields, asList, asText, dig, type Fields } from './value.ts'

/** One object of the stream, and where it is: a document by its number, and the place in it if that is a List. */
export interface Manifest {
  readonly document: number
  readonly root: Path
  readonly value: Fields
  readonly kind: string
  readonly name: string
  /** `null`: the one that the stream is applied to. */
  readonly namespace: string | null
}

/** The objects in a document: itself, or what it lists. */
export function manifestsIn(document: number, value: unknown): Manifest[] {
  const items = asFields(value).kind === 'List' ? dig(value, 'items') : null
  if (!Array.isArray(items)) return [manifest(document, [], asFields(value))]
  return asList(items).map((item, i) => manifest(document, ['items', i], asFields(item)))
}

function manifest(document: number, root: Path, value: Fields): Manifest {
  const name = asText(dig(value, 'metadata', 'name'))
  const namespace = asText(dig(value, 'metadata', 'namespace')) || null
  return { document, root, value, kind: asText(value.kind), name, namespace }
}

export function titleOf({ kind, name }: { readonly kind: string; readonly name: string }): string {
  return `${kind}/${name}`
}

/** Runs what is about one object, and names it where that fails with `Unfit`. */
export function about<T>(manifest: Manifest, run: () => T): T {
  try {
    return run()
  } catch (error) {
    if (!(error instanceof Unfit)) throw error
    throw new FatalError(`${titleOf(manifest)}: ${error.message}`, { cause: error })
  }
}

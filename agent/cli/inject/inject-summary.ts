import { type Manifest, titleOf } from '../manifests/manifest.ts'
import { LAUNCH } from '../manifests/pod-spec.ts'
import { type Change, shown } from './injection-record.ts'

/** What was done to one object, for people: a line each for what was added, set and removed in it, and added beside it. */
export function* summaryOf(
  manifest: Manifest,
  changes: readonly Change[],
  beside: readonly { readonly kind: string; readonly metadata: { readonly name: string } }[],
): Generator<string> {
  const added = changes.flatMap(({ path, head }) =>
    head === undefined
      ? []
      : [`${head[0] === LAUNCH[0] ? 'the launcher' : head.join(', ')} (${place(path)})`],
  )
  const others = changes.filter(({ head }) => head === undefined)
  const set = others.filter(({ after }) => after === undefined).map(({ path }) => place(path))
  const removed = others.filter(({ after }) => after !== undefined).map(({ path }) => place(path))
  const title = titleOf(manifest)
  if (added.length > 0) yield `${title}: added ${added.join('; ')}`
  if (set.length > 0) yield `${title}: set ${set.join(', ')}`
  if (removed.length > 0) yield `${title}: removed ${removed.join(', ')}`
  if (beside.length > 0)
    yield `${title}: added beside it ${beside.map(({ kind, metadata }) => titleOf({ kind, name: metadata.name })).join(', ')}`
}

/** Below the pod, where it is there. */
function place(path: Change['path']): string {
  return shown(path).replace(/^spec\.template\.spec\./, '')
}

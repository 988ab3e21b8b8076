import { isDeepStrictEqual } from 'node:util'
import { FatalError } from '../exit.ts'
import { findLangflows } from '../manifests/langflow.ts'
import {
  asFields,
  dig,
  type Manifest,
  manifestsIn,
  type StreamManifest,
  titleOf,
  unfit,
} from '../manifests/manifest.ts'
import { documentOf, type Input, parseStream, render, type StreamDocument } from '../manifests/stream.ts'
import { LEADER, ROLE_LABEL, readWorkload, servicesOf, type Workload } from '../manifests/workload.ts'
import { refuseUnfit, strangersTo, warningsFor } from './checks.ts'
import { ADDED_FOR, objectsFor } from './objects.ts'
import { edit, RECORD, undo } from './record.ts'
import type { InjectOptions } from './settings.ts'
import { editsFor } from './wrap.ts'

export interface Injected {
  readonly text: string
  /** One sentence each. */
  readonly warnings: readonly string[]
}

/** Wraps each LangFlow of the stream, anew where it was wrapped already. Throws `FatalError`, and then nothing is done. */
export function inject(input: Input, options: InjectOptions): Injected {
  const { documents, found } = strip(parseStream(input))
  const clean = structuredClone(valuesOf(documents))
  const wrapped = new Set(found.map(placeOf))
  const manifests = documents.flatMap(manifestsIn)
  const owners = new Map(manifests.map((manifest) => [placeOf(manifest), 'the stream itself']))
  const targets = findLangflows(manifests, options.container)
  const warnings = targets.flatMap((target) => {
    const workload = readWorkload(target, options)
    refuseUnfit(workload, options)
    const { manifest } = workload
    const services = servicesOf(workload, manifests)
    const running = wrapped.has(placeOf(manifest)) ? [] : strangersTo(manifest)
    const sentences = [...running, ...warningsFor(workload, options.traffic, services.length)]
    if (options.traffic === 'label') services.forEach(restrict)
    edit(manifest, [...editsFor(workload, options)])
    addObjects(workload, options, documents, owners)
    return titled(manifest, sentences)
  })
  const text = render(documents)
  if (!isDeepStrictEqual(valuesOf(strip(parseStream({ ...input, text })).documents), clean))
    throw new FatalError(
      `${targets.map(({ manifest }) => titleOf(manifest)).join(', ')}: written in a form of YAML that could not be restored afterwards: write it plainly, as kubectl create --dry-run=client -o yaml does`,
    )
  return { text, warnings }
}

/** Takes out of the stream all that `inject` put in. Throws `FatalError`. */
export function uninject(input: Input): Injected {
  const { documents, found } = strip(parseStream(input))
  if (found.length === 0)
    return { text: input.text, warnings: ['nothing in this stream was put in by inject'] }
  return { text: render(documents), warnings: found.flatMap((one) => titled(one, strangersTo(one))) }
}

/** The stream without what `inject` put in, and what of it was changed or added by it. */
function strip(documents: StreamDocument[]) {
  const annotated = (name: string) => (manifest: Manifest) =>
    name in asFields(dig(manifest.value, 'metadata', 'annotations'))
  const manifests = documents.flatMap(manifestsIn)
  const added = manifests.filter(annotated(ADDED_FOR))
  for (const { document, list, value } of added) {
    if (list === null) documents.splice(documents.indexOf(document), 1)
    else list.splice(list.indexOf(value), 1)
  }
  const changed = manifests.filter((one) => annotated(RECORD)(one) && !added.includes(one))
  changed.forEach(undo)
  return { documents, found: [...changed, ...added] }
}

function valuesOf(documents: readonly StreamDocument[]): unknown[] {
  return documents.map(({ value }) => value).filter((value) => value !== null)
}

function placeOf({ namespace, kind, name }: Pick<Manifest, 'namespace' | 'kind' | 'name'>): string {
  return `${namespace ?? ''}/${kind}/${name}`
}

function titled(manifest: Manifest, sentences: readonly string[]): string[] {
  return sentences.map((sentence) => `${titleOf(manifest)}: ${sentence}`)
}

/** Has the Service select the leader only, unless it does. */
function restrict(service: Manifest): void {
  if (ROLE_LABEL in asFields(dig(service.value, 'spec', 'selector'))) return
  edit(service, [{ path: ['spec', 'selector', ROLE_LABEL], to: LEADER }])
}

/**
 * Before the workload that needs them, and after what it may need itself, such as its namespace. `owners`: whose the
 * objects of the stream are, since two LangFlows must not share what tells them apart.
 */
function addObjects(
  workload: Workload<StreamManifest>,
  { traffic }: InjectOptions,
  documents: StreamDocument[],
  owners: Map<string, string>,
): void {
  const { manifest } = workload
  const { document, list, value, namespace } = manifest
  const objects = objectsFor(workload, traffic)
  for (const { kind, metadata } of objects) {
    const place = placeOf({ namespace, kind, name: metadata.name })
    const owner = owners.get(place)
    if (owner !== undefined)
      throw unfit(
        manifest,
        `it would need a ${kind} named ${metadata.name}, which ${owner} has already: ${kind === 'Lease' ? 'choose another --lease-name, or inject each LangFlow on its own' : 'rename one of them'}`,
      )
    owners.set(place, titleOf(manifest))
  }
  if (list === null) documents.splice(documents.indexOf(document), 0, ...objects.map(documentOf))
  else list.splice(list.indexOf(value), 0, ...objects)
}

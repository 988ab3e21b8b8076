import { isDeepStrictEqual } from 'node:util'
import { FatalError } from '../../exit.ts'
import { check } from '../check/check.ts'
import { environmentOf, LOG_ENV, lacksLogEnv } from '../check/container-environment.ts'
import { factsOf } from '../check/installation.ts'
import { findLangflows } from '../manifests/langflow-container.ts'
import {
  asFields,
  dig,
  type Manifest,
  manifestsIn,
  type StreamManifest,
  titleOf,
  unfit,
} from '../manifests/manifest.ts'
import {
  documentOf,
  type Input,
  parseStream,
  render,
  type StreamDocument,
} from '../manifests/manifest-stream.ts'
import { readWorkload, servicesOf, type Workload } from '../manifests/workload.ts'
import { ADDED_FOR, objectsFor } from './added-objects.ts'
import { lossesOf, refuseUnfit, strangersTo } from './inject-checks.ts'
import type { InjectOptions } from './inject-settings.ts'
import { summaryOf } from './inject-summary.ts'
import { edit, RECORD, undo } from './injection-record.ts'
import { editsFor, leadToFront } from './workload-edits.ts'

export interface Injected {
  readonly text: string
  /** What was put in, or taken out, and where: a line each. */
  readonly summary: readonly string[]
  /** One sentence each, with the code of its rule where it has one. */
  readonly warnings: readonly string[]
}

/** Wraps each LangFlow of the stream, anew where it was wrapped already. Throws `FatalError`, and then nothing is done. */
export function inject(input: Input, options: InjectOptions): Injected {
  const { documents, changed: before } = strip(parseStream(input))
  const clean = structuredClone(valuesOf(documents))
  const wrapped = new Set(before.map(placeOf))
  const manifests = documents.flatMap(manifestsIn)
  const owners = new Map(manifests.map((manifest) => [placeOf(manifest), 'the stream itself']))
  const targets = findLangflows(manifests, options.container)
  const summary: string[] = []
  const warnings = targets.flatMap((target) => {
    const workload = readWorkload(target, options)
    refuseUnfit(workload, options)
    const { manifest } = workload
    const running = wrapped.has(placeOf(manifest)) ? [] : strangersTo(manifest)
    const sentences = [...running, ...lossesOf(workload)]
    const services = options.traffic === 'front' ? servicesOf(workload, manifests) : []
    const led = services
      .filter((service) => !isHeadless(service))
      .flatMap((service) => lead(service, workload, options))
    const env = environmentOf(workload.langflow, manifests, new Set())
    const logs = lacksLogEnv(workload.langflow, env) ? [LOG_ENV] : []
    const told = { ...options, launcherVariables: [...options.launcherVariables, ...logs] }
    const changes = edit(manifest, [...editsFor(workload, told)])
    summary.push(...summaryOf(manifest, changes, addObjects(workload, options, documents, owners)), ...led)
    return titled(manifest, sentences)
  })
  warnings.push(...brokenRules(documents, options.container))
  const text = render(documents)
  if (!isDeepStrictEqual(valuesOf(strip(parseStream({ ...input, text })).documents), clean))
    throw new FatalError(
      `${targets.map(({ manifest }) => titleOf(manifest)).join(', ')}: written in a form of YAML that could not be restored afterwards: write it plainly, as kubectl create --dry-run=client -o yaml does`,
    )
  return { text, summary, warnings }
}

/** Takes out of the stream all that `inject` put in. Throws `FatalError`. */
export function uninject(input: Input): Injected {
  const { documents, changed, added } = strip(parseStream(input))
  if (changed.length + added.length === 0)
    return { text: input.text, summary: [], warnings: ['nothing in this stream was put in by inject'] }
  const summary = [
    ...changed.map((one) => `${titleOf(one)}: as it was before`),
    ...added.map((one) => `${titleOf(one)}: taken out`),
  ]
  const warnings = [...changed, ...added].flatMap((one) => titled(one, strangersTo(one)))
  return { text: render(documents), summary, warnings }
}

/** What the rules of `check` find in the result. What is not to be seen in a stream is not worth a warning. */
function brokenRules(documents: readonly StreamDocument[], container: string | null): string[] {
  const results = check(factsOf(documents.flatMap(manifestsIn), container))
  return results.flatMap(({ code, findings }) =>
    findings
      .filter(({ outcome }) => outcome !== 'unknown')
      .map(({ object, message }) => `${object === null ? '' : `${object}: `}${message} [${code}]`),
  )
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
  return { documents, changed, added }
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

/** Has the Service lead to the front, unless it does. Returns what was done. */
function lead(service: Manifest, workload: Workload, { frontPort }: InjectOptions): string[] {
  const edits = [...leadToFront(service, workload, frontPort)]
  return edits.length === 0 ? [] : [...summaryOf(service, edit(service, edits), [])]
}

/** Whose clients ask the pods themselves: it leads nowhere, and `check` says so. */
function isHeadless({ value }: Manifest): boolean {
  return dig(value, 'spec', 'clusterIP') === 'None'
}

/**
 * Before the workload that needs them, and after what it may need itself, such as its namespace. `owners`: whose the
 * objects of the stream are, since two LangFlows must not share what tells them apart.
 */
function addObjects(
  workload: Workload<StreamManifest>,
  options: InjectOptions,
  documents: StreamDocument[],
  owners: Map<string, string>,
) {
  const { manifest } = workload
  const { document, list, value, namespace } = manifest
  const objects = objectsFor(workload, options)
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
  return objects
}

import { FatalError } from '../exit.ts'
import { VERSION } from '../version.ts'
import { broken, type Input } from './input.ts'
import { findLangflows, type Target } from './langflow.ts'
import { about, type Manifest, manifestsIn, titleOf } from './manifest.ts'
import { ADDED_FOR, objectsFor } from './objects.ts'
import { RECORD, Recorder, undo } from './record.ts'
import { refuseUnfit } from './refusals.ts'
import { LEADER, ROLE_LABEL, servicesOf } from './services.ts'
import type { InjectOptions } from './settings.ts'
import { insertItems, removeItems } from './text/items.ts'
import { renderDocuments } from './text/render.ts'
import { headOf, splitDocuments, withBefore, withoutDocuments } from './text/stream.ts'
import { type Path, YamlText } from './text/yaml-text.ts'
import { Unfit } from './unfit.ts'
import { asFields, dig } from './value.ts'
import { strangersTo, warningsFor } from './warnings.ts'
import { readWorkload, type Workload } from './workload.ts'
import { wrap } from './wrap.ts'

export interface Injected {
  readonly text: string
  /** One sentence each. */
  readonly warnings: readonly string[]
}

/** Wraps each LangFlow of the stream, anew where it was wrapped already. Throws `FatalError`, and then nothing is done. */
export function inject(input: Input, options: InjectOptions): Injected {
  const { text: clean, found } = strip(input)
  const wrapped = new Set(found.map(placeOf))
  const documents = parse({ text: clean, parts: input.parts })
  const manifests = documents.flatMap((yaml, i) => manifestsIn(i, yaml.before))
  const workloads = findLangflows(manifests, options.container).map((target) => read(target, options))
  refuseCollisions(workloads, manifests, options)
  const leading = new Set<Manifest>()
  const warnings = workloads.flatMap((workload) => {
    const services = servicesOf(workload, manifests)
    for (const service of services) leading.add(service)
    edit(workload, options, documents)
    const more = { services: services.length, wrapped: wrapped.has(placeOf(workload.manifest)) }
    return titled(workload.manifest, warningsFor(workload, options, more))
  })
  if (options.traffic === 'label') for (const service of leading) restrict(service, documents)
  const text = addObjects(workloads, options, documents)
  if (strip({ text, parts: input.parts }).text !== clean)
    throw new FatalError(
      `${workloads.map(({ manifest }) => titleOf(manifest)).join(', ')}: written in a form of YAML that could not be restored afterwards: write it plainly, as kubectl create --dry-run=client -o yaml does`,
    )
  return { text, warnings }
}

/** Takes out of the stream all that `inject` put in. Throws `FatalError`. */
export function uninject(input: Input): Injected {
  const { text, found } = strip(input)
  if (found.length === 0) return { text, warnings: ['nothing in this stream was put in by inject'] }
  return { text, warnings: found.flatMap((manifest) => titled(manifest, strangersTo(manifest))) }
}

/** The stream without what `inject` put in, and what of it was changed or added by it. */
function strip(input: Input): { readonly text: string; readonly found: readonly Manifest[] } {
  const found: Manifest[] = []
  const documents = parse(input)
  const added = new Set<number>()
  for (const [i, yaml] of documents.entries()) {
    // From the end, so that places in a List stay what they are.
    for (const manifest of manifestsIn(i, yaml.before).reverse()) {
      const annotations = asFields(dig(manifest.value, 'metadata', 'annotations'))
      const isAdded = ADDED_FOR in annotations
      if (!isAdded && !(RECORD in annotations)) continue
      found.push(manifest)
      if (isAdded && manifest.root.length === 0) added.add(i)
      else about(manifest, () => (isAdded ? removeListed(yaml, manifest.root) : undo(yaml, manifest.root)))
    }
  }
  const texts = documents.map(({ text }) => text)
  return { text: withoutDocuments(texts, (i) => added.has(i)).join(''), found }
}

function placeOf(manifest: Manifest): string {
  return `${manifest.namespace ?? ''}/${titleOf(manifest)}`
}

function titled(manifest: Manifest, sentences: readonly string[]): string[] {
  return sentences.map((sentence) => `${titleOf(manifest)}: ${sentence}`)
}

function removeListed(yaml: YamlText, root: Path): void {
  removeItems(yaml, root.slice(0, -1), (_, index) => index === root.at(-1))
}

function parse(input: Input): YamlText[] {
  let start = 0
  return splitDocuments(input.text).map((chunk) => {
    try {
      return new YamlText(chunk)
    } catch (error) {
      throw broken(input, start, error)
    } finally {
      start += chunk.length
    }
  })
}

function read(target: Target, options: InjectOptions): Workload {
  const workload = readWorkload(target, options)
  about(target.manifest, () => refuseUnfit(workload, options))
  return workload
}

function edit(workload: Workload, options: InjectOptions, documents: readonly YamlText[]): void {
  const { manifest } = workload
  const yaml = documents[manifest.document]!
  about(manifest, () => {
    if (/^%/m.test(headOf(yaml.text) ?? '')) throw new Unfit('a % directive stands before it: remove that')
    const recorder = new Recorder(yaml, manifest.root)
    wrap(workload, options, recorder)
    recorder.finish(VERSION)
    yaml.check()
  })
}

function restrict(service: Manifest, documents: readonly YamlText[]): void {
  if (dig(service.value, 'spec', 'selector', ROLE_LABEL) !== undefined) return
  const yaml = documents[service.document]!
  about(service, () => {
    const recorder = new Recorder(yaml, service.root)
    recorder.set(['spec', 'selector'], ROLE_LABEL, LEADER)
    recorder.finish(VERSION)
    yaml.check()
  })
}

/** Before the workload that needs them, and after what it may need itself, such as its namespace. */
function addObjects(
  workloads: readonly Workload[],
  { traffic }: InjectOptions,
  documents: readonly YamlText[],
): string {
  const chunks = documents.map(({ text }) => text)
  // From the end, so that places in a List stay what they are.
  for (const workload of workloads.toReversed()) {
    const { document, root } = workload.manifest
    const yaml = documents[document]!
    const objects = objectsFor(workload, traffic)
    const index = root.at(-1)
    if (typeof index === 'number') {
      about(workload.manifest, () => insertItems(yaml, root.slice(0, -1), index, objects))
      chunks[document] = yaml.text
    } else chunks[document] = withBefore(yaml.text, renderDocuments(objects, yaml.lineBreak), yaml.lineBreak)
  }
  return chunks.join('')
}

/** Two LangFlows must not share what tells them apart, and nothing of others may be overwritten. */
function refuseCollisions(
  workloads: readonly Workload[],
  manifests: readonly Manifest[],
  { traffic }: InjectOptions,
): void {
  const keyOf = (kind: string, namespace: string | null, name: string) => `${kind} ${namespace ?? ''}/${name}`
  const owners = new Map(
    manifests.map(({ kind, namespace, name }) => [keyOf(kind, namespace, name), 'the stream itself']),
  )
  for (const workload of workloads) {
    about(workload.manifest, () => {
      for (const { kind, metadata } of objectsFor(workload, traffic)) {
        const key = keyOf(kind, workload.manifest.namespace, metadata.name)
        const owner = owners.get(key)
        if (owner !== undefined)
          throw new Unfit(
            `it would need a ${kind} named ${metadata.name}, which ${owner} has already: ${kind === 'Lease' ? 'choose another --lease-name, or inject each LangFlow on its own' : 'rename one of them'}`,
          )
        owners.set(key, titleOf(workload.manifest))
      }
    })
  }
}

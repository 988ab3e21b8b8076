import { FatalError } from '../../exit.ts'
import { check } from '../check/check.ts'
import { Environment, LOG_ENV } from '../check/environment.ts'
import { factsOf } from '../check/facts.ts'
import { asFields, asList, dig, type Manifest, manifestOf, titleOf, unfit } from '../manifests/manifest.ts'
import { type ManifestStream, renderStream } from '../manifests/manifest-stream.ts'
import { findLangflows, readWorkload, servicesOf, type Workload } from '../manifests/workload.ts'
import { lossesOf, refuseUnfit, runningPodsOf } from './inject-checks.ts'
import type { InjectOptions } from './inject-command.ts'
import { type Edit, edit, RECORD, undo } from './injection-record.ts'
import { ADDED_FOR, editsFor, leadToFront, objectsFor } from './workload-edits.ts'

export interface Injected {
  readonly text: string
  /** The changes, one line for each object. */
  readonly summary: readonly string[]
  /** One sentence each, with the code if the warning comes from a rule of `check`. */
  readonly warnings: readonly string[]
}

/**
 * Adds agent and launcher to each LangFlow of the stream. Earlier injections are undone first. Changes the stream. Throws
 * `FatalError`.
 */
export function inject(stream: ManifestStream, options: InjectOptions): Injected {
  const { manifests, changed } = strip(stream)
  const wrapped = new Set(changed.map(placeOf))
  const owners = new Map(manifests.map((manifest) => [placeOf(manifest), 'the stream']))
  const result = [...manifests]
  const summary: string[] = []
  const warnings: string[] = []
  for (const target of findLangflows(manifests, options.container)) {
    const workload = readWorkload(target, options)
    const { manifest } = workload
    refuseUnfit(workload, options)
    const running = wrapped.has(placeOf(manifest)) ? [] : runningPodsOf(manifest)
    warnings.push(...titled(manifest, [...running, ...lossesOf(workload)]))

    const added = objectsFor(workload, options).map(manifestOf)
    claim(workload, added, owners)
    // The added objects stand before the workload, which requires them, and after objects such as the namespace.
    result.splice(result.indexOf(manifest), 0, ...added)

    const services =
      options.traffic === 'front'
        ? servicesOf(workload, { port: workload.port, ports: asList(workload.langflow.ports) }, manifests)
        : []
    for (const service of services)
      summary.push(...changedIn(service, [...leadToFront(service, workload, options.frontPort)]))
    const adapted = adapt(workload, options, manifests)
    summary.push(...changedIn(manifest, [...editsFor(workload, adapted)]))
    summary.push(...added.map((one) => `${titleOf(one)}: added`))
  }
  warnings.push(...brokenRules(result, options.container))
  return { text: textOf(result, stream), summary, warnings }
}

/** The options for one LangFlow, with the settings that it lacks. */
function adapt({ langflow }: Workload, options: InjectOptions, manifests: readonly Manifest[]) {
  const command = asList(langflow.command).length > 0 ? langflow.command : options.entrypoint
  const env = new Environment({ ...langflow, command }, { manifests, hidden: new Map() })
  const isCold = !options.isWarm || env.whyCold !== null
  const launcherVariables = [...options.launcherVariables, ...(env.lacksLogEnv ? [LOG_ENV] : [])]
  return { ...options, launcherVariables, ...(isCold ? options.ifCold : null) }
}

/** Removes from the stream all changes that `inject` made. Changes the stream. Throws `FatalError`. */
export function uninject(stream: ManifestStream): Injected {
  const { manifests, changed, added } = strip(stream)
  const summary = [
    ...changed.map((one) => `${titleOf(one)}: restored`),
    ...added.map((one) => `${titleOf(one)}: removed`),
  ]
  const warnings =
    summary.length === 0
      ? ['this stream has no changes by inject']
      : changed.flatMap((one) => titled(one, runningPodsOf(one)))
  return { text: textOf(manifests, stream), summary, warnings }
}

/** The stream without the changes of `inject`, and the objects that `inject` had changed or added. */
function strip({ objects }: ManifestStream) {
  const annotated = (name: string) => (manifest: Manifest) =>
    name in asFields(dig(manifest.value, 'metadata', 'annotations'))
  const all = objects.map(manifestOf)
  const added = all.filter(annotated(ADDED_FOR))
  const manifests = all.filter((one) => !added.includes(one))
  const changed = manifests.filter(annotated(RECORD))
  changed.forEach(undo)
  return { manifests, changed, added }
}

/** Throws if an object to be added exists already: two LangFlows must not share a Lease or a selector. */
function claim({ manifest }: Workload, added: readonly Manifest[], owners: Map<string, string>): void {
  for (const one of added) {
    const place = placeOf(one)
    const owner = owners.get(place)
    if (owner !== undefined)
      throw unfit(
        manifest,
        `it requires a ${titleOf(one)}, but ${owner} already has one: ${one.kind === 'Lease' ? 'set another --lease-name, or inject each LangFlow separately' : 'rename one of them'}`,
      )
    owners.set(place, titleOf(manifest))
  }
}

/** Edits an object, and returns a line with the changed places. An object without edits stays unchanged. */
function changedIn(manifest: Manifest, edits: readonly Edit[]): string[] {
  return edits.length === 0 ? [] : [`${titleOf(manifest)}: changed ${edit(manifest, edits).join(', ')}`]
}

/** The rules that no agent can make up for: two LangFlows could act at the same time, or the pod would not start. */
const REFUSED = ['pod-namespaces', 'agent-settings']

/** The findings of `check` in the result. Throws `FatalError`. */
function brokenRules(manifests: readonly Manifest[], container: string | null): string[] {
  return check(factsOf(manifests, container)).findings.map(({ code, object, message, fix }) => {
    const sentence = `${object === null ? '' : `${object}: `}${message}. ${fix}`
    if (REFUSED.includes(code)) throw new FatalError(sentence)
    return `${sentence} [${code}]`
  })
}

function textOf(manifests: readonly Manifest[], { isJson }: ManifestStream): string {
  return renderStream({ objects: manifests.map(({ value }) => value), isJson })
}

function placeOf({ namespace, kind, name }: Pick<Manifest, 'namespace' | 'kind' | 'name'>): string {
  return `${namespace ?? ''}/${kind}/${name}`
}

function titled(manifest: Manifest, sentences: readonly string[]): string[] {
  return sentences.map((sentence) => `${titleOf(manifest)}: ${sentence}`)
}

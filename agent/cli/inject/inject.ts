import { FatalError } from '../../exit.ts'
import { check } from '../check/check.ts'
import { Environment, LOG_ENV } from '../check/environment.ts'
import { factsOf } from '../check/facts.ts'
import { asList, type Fields, type Manifest, manifestOf, titleOf } from '../manifests/manifest.ts'
import { renderStream } from '../manifests/manifest-stream.ts'
import { findLangflows, readWorkload, servicesOf } from '../manifests/workload.ts'
import { refuseUnfit, warningsAbout } from './inject-checks.ts'
import type { InjectOptions } from './inject-command.ts'
import { type Edit, edit } from './manifest-edit.ts'
import { editsFor, leadToFront, objectsFor } from './workload-edits.ts'

/** Adds agent and launcher to each LangFlow of the objects. Changes the objects. Throws `FatalError`. */
export function inject(objects: readonly Fields[], options: InjectOptions) {
  const manifests = objects.map(manifestOf)
  const result = [...manifests]
  const summary: string[] = []
  const warnings: string[] = []
  for (const found of findLangflows(manifests, options.container)) {
    const workload = readWorkload(found, options)
    const { manifest, langflow, port } = workload
    refuseUnfit(workload, options)
    warnings.push(...warningsAbout(workload).map((sentence) => `warning: ${titleOf(manifest)}: ${sentence}`))
    const added = objectsFor(workload, options).map(manifestOf)
    // The added objects stand before the workload, which requires them, and after objects such as the namespace.
    result.splice(result.indexOf(manifest), 0, ...added)
    const services = servicesOf(workload, { port, ports: asList(langflow.ports) }, manifests)
    for (const service of options.traffic === 'front' ? services : [])
      summary.push(...changedIn(service, [...leadToFront(service, workload, options.frontPort)]))
    const { lacksLogEnv } = new Environment(langflow, { manifests, hidden: new Map() })
    const launcherVariables = [...options.launcherVariables, ...(lacksLogEnv ? [LOG_ENV] : [])]
    summary.push(...changedIn(manifest, [...editsFor(workload, { ...options, launcherVariables })]))
    summary.push(...added.map((one) => `${titleOf(one)}: added`))
  }
  warnings.push(...brokenRules(result, options.container))
  return { text: renderStream(result.map(({ value }) => value)), summary, warnings }
}

/** Edits an object, and returns a line with the changed places. An object without edits stays unchanged. */
function changedIn(manifest: Manifest, edits: readonly Edit[]): string[] {
  return edits.length === 0 ? [] : [`${titleOf(manifest)}: changed ${edit(manifest, edits).join(', ')}`]
}

/** The rules that no agent can make up for: two LangFlows could act at the same time, or the pod would not start. */
const REFUSED = ['pod-namespaces', 'agent-settings', 'lease-shared']

/** The findings of `check` in the result. Throws `FatalError`. */
function brokenRules(manifests: readonly Manifest[], container: string | null): string[] {
  return check(factsOf(manifests, container)).findings.map(({ code, severity, object, message, fix }) => {
    const sentence = `${object === null ? '' : `${object}: `}${message}. ${fix}`
    if (REFUSED.includes(code)) throw new FatalError(sentence)
    return `${severity}: ${sentence} [${code}]`
  })
}

import { FatalError } from '../../exit.ts'
import { check } from '../check/check.ts'
import { Environment, LOG_ENV } from '../check/environment.ts'
import { factsOf } from '../check/facts.ts'
import { agentIn } from '../manifests/agent-container.ts'
import type { Fields, Manifest } from '../manifests/manifest.ts'
import { asList, asNumber, asText, dig, manifestOf, titleOf, unfit } from '../manifests/manifest.ts'
import { renderStream } from '../manifests/manifest-stream.ts'
import { PROGRAM_DIR, SOCKET_DIR } from '../manifests/pod-spec.ts'
import type { Workload } from '../manifests/workload.ts'
import { findLangflows, readWorkload, runsLangflow, servicesOf } from '../manifests/workload.ts'
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
    for (const reason of reasonsAgainst(workload)) throw unfit(manifest, reason)
    for (const sentence of warningsAbout(workload, options))
      warnings.push(`warning: ${titleOf(manifest)}: ${sentence}`)
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

/** Why inject cannot add an agent to the workload. */
function* reasonsAgainst({ langflow, container, pod }: Workload): Generator<string> {
  if (agentIn(pod) !== null)
    yield 'it already has langflow-leader; nothing to inject: change the variables LEADER_* of its agent, or pass the original manifest'
  for (const mount of asList(langflow.volumeMounts)) {
    const path = asText(dig(mount, 'mountPath'))
    if ([PROGRAM_DIR, SOCKET_DIR].some((dir) => `${path}/`.startsWith(`${dir}/`)))
      yield `its container ${container} already has a volume at ${path}, where inject would mount its own: move it`
  }
  const args = asList(langflow.args)
  // An image without an ENTRYPOINT starts the arguments as they are.
  const isWhole = runsLangflow({ args }) && /^[^-\s]\S*$/.test(asText(args[0]))
  const lack = args.length > 0 ? "the image's ENTRYPOINT as command" : 'the command, such as [langflow, run]'
  if (asList(langflow.command).length === 0 && !isWhole)
    yield `its container ${container} has no command, and inject cannot read the image's own: add ${lack}`
}

/** Warnings about the application of the result. The caller adds the object's name. */
function* warningsAbout(workload: Workload, { traffic }: InjectOptions): Generator<string> {
  const { manifest, pod, langflow, container } = workload
  const running = asNumber(dig(manifest.value, 'status', 'replicas')) ?? 0
  const sidecars = asList(pod.initContainers).filter((one) => dig(one, 'restartPolicy') === 'Always')
  const names = [...asList(pod.containers), ...sidecars].map((one) => asText(dig(one, 'name')))
  const others = names.filter((name) => name !== container).join(' and ')
  if (running > 0)
    yield `${running} of its pods run: scale it to 0 before you apply this and back afterwards, because pods without an agent act beside the leader`
  if (pod.automountServiceAccountToken !== false && others !== '')
    yield `the token for the API server is no longer mounted into ${others}: if it is required there, mount a projected token`
  if (traffic === 'front' && !runsLangflow(langflow))
    yield `inject cannot read which host the command of ${container} sets: with another than 127.0.0.1, clients can bypass the front`
}

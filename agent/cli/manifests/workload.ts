import { FatalError } from '../../exit.ts'
import { agentIn } from './agent-container.ts'
import { asFields, asList, asNumber, asText, dig, type Fields, type Manifest, unfit } from './manifest.ts'

export const DEFAULT_PORT = 7860

interface FoundLangflow {
  readonly manifest: Manifest
  readonly container: string
}

/** The workloads of the stream that run LangFlow. `container`: the name of its container, if given. Throws `FatalError`. */
export function findLangflows(manifests: readonly Manifest[], container: string | null): FoundLangflow[] {
  for (const manifest of manifests) refuseForeign(manifest, container)
  const workloads = manifests.filter(isWorkload)
  const found = container === null ? guessed(workloads) : named(workloads, container)
  if (found.length > 0) return found
  const lack =
    container === null
      ? 'has a container named langflow, an image whose name ends in langflow, or "langflow run" in its command; set the name of the container with --container'
      : `has a container named ${container}; correct --container`
  throw new FatalError(`found no LangFlow: no Deployment or StatefulSet ${lack}`)
}

export function isWorkload({ kind, value }: Manifest): boolean {
  return (kind === 'Deployment' || kind === 'StatefulSet') && asText(value.apiVersion).startsWith('apps/')
}

function guessed(workloads: readonly Manifest[]): FoundLangflow[] {
  const found = workloads.flatMap((manifest) => {
    const likely = containersIn(manifest).filter(looksLikeLangflow)
    const running = likely.filter(runsLangflow)
    const [best, other] = running.length === 1 ? running : likely
    if (best === undefined) return []
    if (other === undefined) return [{ manifest, container: asText(best.name) }]
    const names = likely.map(({ name }) => name).join(' and ')
    throw unfit(
      manifest,
      `the containers ${names} both look like LangFlow: set the right one with --container`,
    )
  })
  if (found.length > 0 || workloads.length !== 1) return found
  // A single container counts as LangFlow's, under any name.
  const containers = containersIn(workloads[0]!)
  return containers.length === 1 ? [{ manifest: workloads[0]!, container: asText(containers[0]!.name) }] : []
}

/** Some charts use the same container name in several workloads, such as LangFlow and its frontend. */
function named(workloads: readonly Manifest[], container: string): FoundLangflow[] {
  const own = (manifest: Manifest) => containersIn(manifest).filter(({ name }) => name === container)
  const having = workloads.filter((manifest) => own(manifest).length > 0)
  const likely = having.filter((manifest) => own(manifest).some(looksLikeLangflow))
  return (likely.length > 0 ? likely : having).map((manifest) => ({ manifest, container }))
}

/** Refuses a LangFlow that cannot have an agent: it would act beside the leader. A Job that runs another command is no LangFlow. */
function refuseForeign(manifest: Manifest, container: string | null): void {
  if (isWorkload(manifest) || isOfWorkload(manifest)) return
  const found = containersIn(manifest).find(
    (one) => runsLangflow(one) || ((looksLikeLangflow(one) || one.name === container) && !hasCommand(one)),
  )
  if (found === undefined) return
  throw unfit(
    manifest,
    `its container ${found.name} runs LangFlow, but only Deployments and StatefulSets (apps/v1) can have an agent: use one of these kinds`,
  )
}

/** Whether a pod was created for a workload, as a cluster reports it. */
export function isOfWorkload({ kind, value }: Manifest): boolean {
  const owners = asList(dig(value, 'metadata', 'ownerReferences')).map((owner) => dig(owner, 'kind'))
  return kind === 'Pod' && owners.some((owner) => owner === 'ReplicaSet' || owner === 'StatefulSet')
}

export function containersIn({ kind, value }: Manifest): Fields[] {
  const job = kind === 'CronJob' ? dig(value, 'spec', 'jobTemplate') : value
  const spec = kind === 'Pod' ? value.spec : dig(job, 'spec', 'template', 'spec')
  return asList(dig(spec, 'containers')).map(asFields)
}

export function hasCommand({ command, args }: Fields): boolean {
  return asList(command).length + asList(args).length > 0
}

export function runsLangflow({ command, args }: Fields): boolean {
  return /\blangflow(\.__main__)?\s+run\b/.test([...asList(command), ...asList(args)].join(' '))
}

export function looksLikeLangflow(container: Fields): boolean {
  const repository = asText(container.image)
    .replace(/@.*$/, '')
    .replace(/:[^:/]*$/, '')
  return container.name === 'langflow' || /langflow(-backend)?$/.test(repository) || runsLangflow(container)
}

export type Workload = ReturnType<typeof readWorkload>

/** Reads a workload. If `leaseName` or `targetPort` is `null`, it follows from the workload. */
export function readWorkload(
  { manifest, container }: FoundLangflow,
  { leaseName = null, targetPort = null }: { leaseName?: string | null; targetPort?: number | null } = {},
) {
  const spec = asFields(manifest.value.spec)
  const template = asFields(spec.template)
  const pod = asFields(template.spec)
  const langflow = asFields(asList(pod.containers).find((one) => dig(one, 'name') === container))
  const account = asText(pod.serviceAccountName) || asText(pod.serviceAccount)
  const { name } = manifest
  // A Service's name is a DNS label that starts with a letter. The name of a workload may be longer and contain dots.
  const label = name.replace(/^[^a-z]+/, '').replaceAll('.', '-')
  return {
    manifest,
    spec,
    template,
    pod,
    langflow,
    container,
    port: targetPort ?? portOf(langflow, pod) ?? DEFAULT_PORT,
    /** Undefined if Kubernetes or an autoscaler sets it. */
    replicas: asNumber(spec.replicas) ?? undefined,
    names: {
      account: account || `${name}-langflow-leader`,
      role: `${name}-langflow-leader`,
      lease: leaseName ?? `${name}-leader`,
      members: `${label.slice(0, 55).replace(/-+$/, '')}-members`,
    },
    /** Whether the pods use the default account, so that inject adds a ServiceAccount. */
    hasDefaultAccount: account === '',
  }
}

export function labelsOf({ template }: Pick<Workload, 'template'>): Readonly<Fields> {
  return asFields(dig(template, 'metadata', 'labels'))
}

/** The Services that lead to a port of the workload's pods. `ports`: the declared ports, whose names a Service may use. */
export function servicesOf(
  workload: Pick<Workload, 'manifest' | 'template'>,
  { port, ports }: { port: number; ports: readonly unknown[] },
  manifests: readonly Manifest[],
): Manifest[] {
  const isNamed = (name: string) =>
    ports.some((own) => dig(own, 'name') === name && dig(own, 'containerPort') === port)
  const leads = (one: unknown) => {
    const to = dig(one, 'targetPort') ?? dig(one, 'port')
    return typeof to === 'string' ? isNamed(to) : to === port
  }
  return manifests.filter(
    (one) =>
      one.kind === 'Service' &&
      inOneNamespace(one, workload.manifest) &&
      selects(dig(one.value, 'spec', 'selector'), labelsOf(workload)) &&
      asList(dig(one.value, 'spec', 'ports')).some(leads),
  )
}

/** Whether two objects may be in the same namespace. Charts omit the namespace in some manifests. */
export function inOneNamespace(a: Pick<Manifest, 'namespace'>, b: Pick<Manifest, 'namespace'>): boolean {
  return a.namespace === null || b.namespace === null || a.namespace === b.namespace
}

export function selects(selector: unknown, labels: Readonly<Fields>): boolean {
  return Object.keys(asFields(selector)).length > 0 && matches({ matchLabels: selector }, labels)
}

/** Whether a label selector, as in a NetworkPolicy or a PodDisruptionBudget, certainly matches. An empty one matches all labels. */
export function matches(selector: unknown, labels: Readonly<Fields>): boolean {
  const exact = Object.entries(asFields(dig(selector, 'matchLabels')))
  return (
    exact.every(([name, value]) => labels[name] === value) &&
    asList(dig(selector, 'matchExpressions')).every(
      (one) =>
        dig(one, 'operator') === 'In' && asList(dig(one, 'values')).includes(labels[asText(dig(one, 'key'))]),
    )
  )
}

/** LangFlow's port from its container's flags and variables, else from the declared ports; `null` if unknown. */
function portOf(langflow: Fields, pod: Fields): number | null {
  const words = [...asList(langflow.command), ...asList(langflow.args)].join(' ')
  const flags = new Set([...words.matchAll(/--port[ =]["']?(\d+)\b/g)].map(([, port]) => Number(port)))
  const [flag] = flags
  if (flags.size === 1 && flag !== undefined) return flag
  const configured = Number(variableOf(langflow, 'LANGFLOW_PORT'))
  if (configured > 0) return configured
  // In front mode, the declared port is the front's, and a variable of the agent has LangFlow's port.
  const agent = agentIn(pod)?.container ?? {}
  if (variableOf(agent, 'LEADER_TRAFFIC') === 'front')
    return Number(/:(\d+)\/?$/.exec(variableOf(agent, 'LEADER_TARGET'))?.[1]) || null
  const declared = asList(langflow.ports).map((port) => asNumber(dig(port, 'containerPort')))
  return declared.length === 1 ? declared[0]! : null
}

function variableOf({ env }: Fields, name: string): string {
  const found = asList(env).find((one) => dig(one, 'name') === name)
  return asText(dig(found, 'value'))
}

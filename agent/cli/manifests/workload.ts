import { createHash } from 'node:crypto'
import { FatalError } from '../../exit.ts'
import {
  asFields,
  asList,
  asNumber,
  asText,
  dig,
  type Fields,
  type Manifest,
  titleOf,
  unfit,
} from './manifest.ts'

export const DEFAULT_PORT = 7860

interface Target {
  readonly manifest: Manifest
  /** The name of LangFlow's container. */
  readonly container: string
}

/** The workloads of the stream that run LangFlow. `container`: the name of its container, if given. Throws `FatalError`. */
export function findLangflows(manifests: readonly Manifest[], container: string | null): Target[] {
  for (const manifest of manifests) refuseForeign(manifest, container)
  const workloads = manifests.filter(isWorkload)
  const targets = container === null ? guessed(workloads) : named(workloads, container)
  for (const manifest of workloads) refuseReference(manifest, targets)
  if (targets.length > 0) return targets
  throw new FatalError(
    container === null
      ? 'found no LangFlow: no Deployment, StatefulSet or Rollout has a container named langflow, an image whose name ends in langflow, or "langflow run" in its command; set the name of the container with --container'
      : `found no LangFlow: no Deployment, StatefulSet or Rollout has a container named ${container}; correct --container`,
  )
}

const GROUPS: Readonly<Record<string, string>> = {
  Deployment: 'apps/',
  StatefulSet: 'apps/',
  Rollout: 'argoproj.io/',
}

function isWorkload({ kind, value }: Manifest): boolean {
  const group = GROUPS[kind]
  return group !== undefined && asText(value.apiVersion).startsWith(group)
}

function guessed(workloads: readonly Manifest[]): Target[] {
  const targets = workloads.flatMap((manifest) => {
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
  if (targets.length > 0 || workloads.length !== 1) return targets
  // A single container counts as LangFlow's, under any name.
  const containers = containersIn(workloads[0]!)
  return containers.length === 1 ? [{ manifest: workloads[0]!, container: asText(containers[0]!.name) }] : []
}

/** Some charts use the same container name in several workloads, such as LangFlow and its frontend. */
function named(workloads: readonly Manifest[], container: string): Target[] {
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
    `its container ${found.name} runs LangFlow, but only Deployments, StatefulSets (apps/v1) and Rollouts (argoproj.io/v1alpha1) can have an agent: use one of these kinds`,
  )
}

/** Whether a pod was created for a workload, as a cluster reports it. */
function isOfWorkload({ kind, value }: Manifest): boolean {
  const owners = asList(dig(value, 'metadata', 'ownerReferences')).map((owner) => dig(owner, 'kind'))
  return kind === 'Pod' && owners.some((owner) => owner === 'ReplicaSet' || owner === 'StatefulSet')
}

/** A Rollout may use the template of another workload, which Argo Rollouts scales to 0. */
function refuseReference(manifest: Manifest, targets: readonly Target[]): void {
  const reference = dig(manifest.value, 'spec', 'workloadRef')
  const from = titleOf({ kind: asText(dig(reference, 'kind')), name: asText(dig(reference, 'name')) })
  if (reference === undefined) return
  if (targets.length === 0 || targets.some((one) => titleOf(one.manifest) === from))
    throw unfit(
      manifest,
      `it takes its pods from ${from} (workloadRef): write that template into the Rollout itself`,
    )
}

/** The containers of an object's pods, without init containers. */
export function containersIn({ kind, value }: Manifest): Fields[] {
  const spec =
    kind === 'Pod'
      ? dig(value, 'spec')
      : kind === 'CronJob'
        ? dig(value, 'spec', 'jobTemplate', 'spec', 'template', 'spec')
        : dig(value, 'spec', 'template', 'spec')
  return asList(dig(spec, 'containers')).map(asFields)
}

function hasCommand({ command, args }: Fields): boolean {
  return asList(command).length + asList(args).length > 0
}

function runsLangflow({ command, args }: Fields): boolean {
  return /\blangflow(\.__main__)?\s+run\b/.test([...asList(command), ...asList(args)].join(' '))
}

/** Whether the container's name, its image or its command is LangFlow's. */
export function looksLikeLangflow(container: Fields): boolean {
  return (
    container.name === 'langflow' ||
    /langflow(-backend)?$/.test(repositoryOf(container)) ||
    runsLangflow(container)
  )
}

/** A container's image without tag and digest. */
export function repositoryOf({ image }: Fields): string {
  return asText(image)
    .replace(/@.*$/, '')
    .replace(/:[^:/]*$/, '')
}

/** A workload as `inject` and `check` use it. */
export type Workload = ReturnType<typeof readWorkload>

/** Reads a workload. If `leaseName` or `targetPort` is `null`, it follows from the workload. */
export function readWorkload(
  { manifest, container }: Target,
  { leaseName = null, targetPort = null }: { leaseName?: string | null; targetPort?: number | null } = {},
) {
  const spec = asFields(manifest.value.spec)
  const template = asFields(spec.template)
  const pod = asFields(template.spec)
  const langflow = asFields(asList(pod.containers).find((one) => dig(one, 'name') === container))
  const account = asText(pod.serviceAccountName) || asText(pod.serviceAccount)
  const { name } = manifest
  const said = targetPort ?? portOf(langflow, pod)
  return {
    manifest,
    spec,
    template,
    pod,
    langflow,
    container,
    /** LangFlow's port. */
    port: said ?? DEFAULT_PORT,
    /** Whether a flag or the manifest sets the port. If not, it is LangFlow's default. */
    portIsSaid: said !== null,
    replicas: asNumber(spec.replicas) ?? 1,
    /** The names of the objects beside the workload. */
    names: {
      account: account || `${name}-langflow-leader`,
      role: `${name}-langflow-leader`,
      lease: leaseName ?? `${name}-leader`,
      members: serviceName(name, '-members'),
    },
    /** Whether inject adds a ServiceAccount, because the pods use the default account. */
    ownAccount: account === '',
  }
}

/** The labels that select its pods. */
export function podLabels({ spec, template }: Pick<Workload, 'spec' | 'template'>): Fields {
  const selector = asFields(dig(spec, 'selector', 'matchLabels'))
  return Object.keys(selector).length > 0 ? selector : asFields(dig(template, 'metadata', 'labels'))
}

/** The Services that lead to LangFlow's own port. */
export function servicesOf(
  workload: Pick<Workload, 'manifest' | 'template' | 'langflow' | 'port'>,
  manifests: readonly Manifest[],
): Manifest[] {
  return manifests.filter(
    (manifest) =>
      manifest.kind === 'Service' &&
      inOneNamespace(manifest, workload.manifest) &&
      selects(manifest, workload) &&
      asList(dig(manifest.value, 'spec', 'ports')).some((port) => leadsTo(port, workload)),
  )
}

/** Whether two objects may be in the same namespace. Charts omit the namespace in some manifests. */
export function inOneNamespace(a: Pick<Manifest, 'namespace'>, b: Pick<Manifest, 'namespace'>): boolean {
  return a.namespace === null || b.namespace === null || a.namespace === b.namespace
}

function selects({ value }: Manifest, { template }: Pick<Workload, 'template'>): boolean {
  const labels = asFields(dig(template, 'metadata', 'labels'))
  const selector = Object.entries(asFields(dig(value, 'spec', 'selector')))
  return selector.length > 0 && selector.every(([name, wanted]) => labels[name] === wanted)
}

function leadsTo(port: unknown, { langflow, port: wanted }: Pick<Workload, 'langflow' | 'port'>): boolean {
  const target = dig(port, 'targetPort') ?? dig(port, 'port')
  if (typeof target !== 'string') return target === wanted
  return asList(langflow.ports).some(
    (own) => dig(own, 'name') === target && dig(own, 'containerPort') === wanted,
  )
}

/** LangFlow's port from its container's flags and variables, else from the declared ports; `null` if unknown. */
function portOf(langflow: Fields, pod: Fields): number | null {
  const words = [...asList(langflow.command), ...asList(langflow.args)].join(' ')
  const flags = new Set([...words.matchAll(/--port[ =]["']?(\d+)\b/g)].map(([, port]) => Number(port)))
  const [flag] = flags
  if (flags.size === 1 && flag !== undefined) return flag
  const said = Number(variableOf(langflow, 'LANGFLOW_PORT'))
  if (said > 0) return said
  // In front mode, the declared port is the front's, and a variable of the agent has LangFlow's port.
  const agent = asFields(asList(pod.initContainers).find((one) => dig(one, 'name') === 'agent'))
  if (variableOf(agent, 'LEADER_TRAFFIC') === 'front') {
    const target = /:(\d+)\/?$/.exec(variableOf(agent, 'LEADER_TARGET'))?.[1]
    return target === undefined ? null : Number(target)
  }
  const declared = asList(langflow.ports).map((port) => asNumber(dig(port, 'containerPort')))
  return declared.length === 1 ? declared[0]! : null
}

function variableOf({ env }: Fields, name: string): string {
  return asText(
    dig(
      asList(env).find((one) => dig(one, 'name') === name),
      'value',
    ),
  )
}

/** A Service's name: a DNS label that starts with a letter. The name of a workload may be longer and contain dots. */
function serviceName(name: string, suffix: string): string {
  const fits = name.length + suffix.length <= 63 && /^[a-z][-a-z0-9]*$/.test(name)
  return fits
    ? name + suffix
    : `langflow-${createHash('sha256').update(name).digest('hex').slice(0, 8)}${suffix}`
}

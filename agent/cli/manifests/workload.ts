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

/** The workloads of the stream that run LangFlow. `container`: the given name of its container. Throws `FatalError`. */
export function findLangflows(manifests: readonly Manifest[], container: string | null): Target[] {
  for (const manifest of manifests) refuseForeign(manifest, container)
  const workloads = manifests.filter(isWorkload)
  const targets = container === null ? guessed(workloads) : named(workloads, container)
  for (const manifest of workloads) refuseReference(manifest, targets)
  if (targets.length > 0) return targets
  throw new FatalError(
    container === null
      ? 'found no LangFlow: no Deployment, StatefulSet or Rollout has a container named langflow, an image whose name ends in langflow, or "langflow run" in its command; name its container with --container'
      : `found no LangFlow: no Deployment, StatefulSet or Rollout has a container named ${container}; look at --container`,
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
    const likely = containersOf(manifest).filter(looksLikeLangflow)
    const running = likely.filter(runsLangflow)
    const [best, other] = running.length === 1 ? running : likely
    if (best === undefined) return []
    if (other === undefined) return [{ manifest, container: asText(best.name) }]
    const names = likely.map(({ name }) => name).join(' and ')
    throw unfit(
      manifest,
      `the containers ${names} both look like LangFlow: name the right one with --container`,
    )
  })
  if (targets.length > 0 || workloads.length !== 1) return targets
  // A single container can only be LangFlow's, whatever it is called.
  const containers = containersOf(workloads[0]!)
  return containers.length === 1 ? [{ manifest: workloads[0]!, container: asText(containers[0]!.name) }] : []
}

/** Charts name the containers of several workloads alike, LangFlow's and its frontend's. */
function named(workloads: readonly Manifest[], container: string): Target[] {
  const own = (manifest: Manifest) => containersOf(manifest).filter(({ name }) => name === container)
  const having = workloads.filter((manifest) => own(manifest).length > 0)
  const likely = having.filter((manifest) => own(manifest).some(looksLikeLangflow))
  return (likely.length > 0 ? likely : having).map((manifest) => ({ manifest, container }))
}

/** A LangFlow that can't be wrapped would act beside the leader. A Job that uses its image for something else would not. */
function refuseForeign(manifest: Manifest, container: string | null): void {
  if (isWorkload(manifest)) return
  const found = containersOf(manifest).find(
    (one) => runsLangflow(one) || ((looksLikeLangflow(one) || one.name === container) && !hasCommand(one)),
  )
  if (found === undefined) return
  throw unfit(
    manifest,
    `its container ${found.name} runs LangFlow, and only Deployments, StatefulSets (apps/v1) and Rollouts (argoproj.io/v1alpha1) can have an agent: make it one of them`,
  )
}

/** Argo Rollouts may take a template from another workload, which Argo scales to 0. */
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

function containersOf({ kind, value }: Manifest): Fields[] {
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

/** By the name of its container or image, or by its command. */
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

/** What wrapping or checking a LangFlow needs of its workload. */
export type Workload = ReturnType<typeof readWorkload>

/** `leaseName`, `targetPort`: as given; `null`: they follow from the workload. */
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
    /** Where LangFlow listens. */
    port: said ?? DEFAULT_PORT,
    /** Whether that is said, or only usual. */
    portIsSaid: said !== null,
    replicas: asNumber(spec.replicas) ?? 1,
    /** The names of the objects beside it. */
    names: {
      account: account || `${name}-langflow-leader`,
      role: `${name}-langflow-leader`,
      lease: leaseName ?? `${name}-leader`,
      members: serviceName(name, '-members'),
    },
    /** Whether the pods get an account of their own. */
    ownAccount: account === '',
  }
}

/** The labels that all of its pods have, and as far as manifests show no other pods. */
export function podLabels({ spec, template }: Pick<Workload, 'spec' | 'template'>): Fields {
  const selector = asFields(dig(spec, 'selector', 'matchLabels'))
  return Object.keys(selector).length > 0 ? selector : asFields(dig(template, 'metadata', 'labels'))
}

/** The Services by which LangFlow itself is reached. */
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

/** Charts name the namespace in some manifests, and leave it to the command in others. */
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

/** LangFlow's port as its container is told, or else as it is declared; `null`: unknown. */
function portOf(langflow: Fields, pod: Fields): number | null {
  const words = [...asList(langflow.command), ...asList(langflow.args)].join(' ')
  const flags = new Set([...words.matchAll(/--port[ =]["']?(\d+)\b/g)].map(([, port]) => Number(port)))
  const [flag] = flags
  if (flags.size === 1 && flag !== undefined) return flag
  const said = Number(variableOf(langflow, 'LANGFLOW_PORT'))
  if (said > 0) return said
  // In front mode, the declared port is the front's, and the agent is told LangFlow's.
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

/** A label that begins with a letter. The name of a workload may be longer, and have dots. */
function serviceName(name: string, suffix: string): string {
  const fits = name.length + suffix.length <= 63 && /^[a-z][-a-z0-9]*$/.test(name)
  return fits
    ? name + suffix
    : `langflow-${createHash('sha256').update(name).digest('hex').slice(0, 8)}${suffix}`
}

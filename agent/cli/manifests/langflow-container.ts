import { FatalError } from '../../exit.ts'
import { asFields, asList, asText, dig, type Fields, type Manifest, titleOf, unfit } from './manifest.ts'

export interface Target<M extends Manifest = Manifest> {
  readonly manifest: M
  /** The name of LangFlow's container. */
  readonly container: string
}

/** Which LangFlows are in the stream. `container`: the name that was given for theirs. Throws `FatalError`. */
export function findLangflows<M extends Manifest>(
  manifests: readonly M[],
  container: string | null,
): Target<M>[] {
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

function guessed<M extends Manifest>(workloads: readonly M[]): Target<M>[] {
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
  // Nothing looks like it, but there is no other it could be.
  const containers = containersOf(workloads[0]!)
  return containers.length === 1 ? [{ manifest: workloads[0]!, container: asText(containers[0]!.name) }] : []
}

/** Charts name the containers of several workloads alike, LangFlow's and its frontend's. */
function named<M extends Manifest>(workloads: readonly M[], container: string): Target<M>[] {
  const having = workloads.filter((manifest) => containersOf(manifest).some(({ name }) => name === container))
  const likely = having.filter((manifest) =>
    containersOf(manifest).some((one) => one.name === container && looksLikeLangflow(one)),
  )
  return (likely.length > 0 ? likely : having).map((manifest) => ({ manifest, container }))
}

/** A LangFlow that nobody would wrap is a second one that acts. Jobs that use its image for something else are none. */
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

/** Argo Rollouts may take a template from elsewhere, and scales what it takes it from to 0. */
function refuseReference(manifest: Manifest, targets: readonly Target[]): void {
  const reference = dig(manifest.value, 'spec', 'workloadRef')
  const from = { kind: asText(dig(reference, 'kind')), name: asText(dig(reference, 'name')) }
  if (from.name === '') return
  const isOurs = targets.some((one) => titleOf(one.manifest) === titleOf(from))
  if (isOurs || targets.length === 0)
    throw unfit(
      manifest,
      `it takes its pods from ${titleOf(from)} (workloadRef): write that template into the Rollout itself`,
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

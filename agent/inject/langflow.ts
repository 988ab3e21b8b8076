import { FatalError } from '../exit.ts'
import { asFields, asList, asText, dig, type Fields, type Manifest, unfit } from './manifest.ts'

export interface Target {
  readonly manifest: Manifest
  /** The name of LangFlow's container. */
  readonly container: string
}

/** Which LangFlows are in the stream. `container`: the name that was given for theirs. Throws `FatalError`. */
export function findLangflows(manifests: readonly Manifest[], container: string | null): Target[] {
  for (const manifest of manifests) refuseForeign(manifest, container)
  const workloads = manifests.filter(isWorkload)
  const targets = container === null ? guessed(workloads) : named(workloads, container)
  if (targets.length > 0) return targets
  throw new FatalError(
    container === null
      ? 'found no LangFlow: no Deployment or StatefulSet has a container named langflow, an image whose name ends in langflow, or "langflow run" in its command; name its container with --container'
      : `found no LangFlow: no Deployment or StatefulSet has a container named ${container}; look at --container`,
  )
}

function isWorkload({ kind, value }: Manifest): boolean {
  return (kind === 'Deployment' || kind === 'StatefulSet') && asText(value.apiVersion).startsWith('apps/')
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
  // Nothing looks like it, but there is no other it could be.
  const containers = containersOf(workloads[0]!)
  return containers.length === 1 ? [{ manifest: workloads[0]!, container: asText(containers[0]!.name) }] : []
}

/** Charts name the containers of several workloads alike, LangFlow's and its frontend's. */
function named(workloads: readonly Manifest[], container: string): Target[] {
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
    `its container ${found.name} runs LangFlow, and inject handles only Deployments and StatefulSets (apps/v1): make it one of them`,
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

function looksLikeLangflow(container: Fields): boolean {
  const repository = asText(container.image)
    .replace(/@.*$/, '')
    .replace(/:[^:/]*$/, '')
  return container.name === 'langflow' || /langflow(-backend)?$/.test(repository) || runsLangflow(container)
}

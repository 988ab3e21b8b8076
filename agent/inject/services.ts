import type { Manifest } from './manifest.ts'
import { asFields, asList, dig, type Fields } from './value.ts'
import type { Workload } from './workload.ts'

export const ROLE_LABEL = 'langflow-leader/role'
export const LEADER = 'leader'

/** The Services by which LangFlow itself is reached. */
export function servicesOf(workload: Workload, manifests: readonly Manifest[]): Manifest[] {
  return manifests.filter(
    (manifest) =>
      manifest.kind === 'Service' &&
      inOneNamespace(manifest, workload.manifest) &&
      selects(manifest, workload) &&
      asList(dig(manifest.value, 'spec', 'ports')).some((port) => leadsTo(port, workload)),
  )
}

/** Charts name the namespace in some manifests, and leave it to the command in others. */
function inOneNamespace(a: Manifest, b: Manifest): boolean {
  return a.namespace === null || b.namespace === null || a.namespace === b.namespace
}

/** Whether it selects the leader's pod, which has the role label beside those of the template. */
function selects({ value }: Manifest, { template }: Workload): boolean {
  const labels: Fields = { ...asFields(dig(template, 'metadata', 'labels')), [ROLE_LABEL]: LEADER }
  const selector = Object.entries(asFields(dig(value, 'spec', 'selector')))
  return selector.length > 0 && selector.every(([name, wanted]) => labels[name] === wanted)
}

function leadsTo(port: unknown, { langflow, port: wanted }: Workload): boolean {
  const target = dig(port, 'targetPort') ?? dig(port, 'port')
  if (typeof target !== 'string') return target === wanted
  return asList(langflow.ports).some(
    (own) => dig(own, 'name') === target && dig(own, 'containerPort') === wanted,
  )
}

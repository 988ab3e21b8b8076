import { type KubeObject, type KubeObjects, NAMESPACE, POD } from '../kube/kube-objects.ts'
import { connectObjects, DEADLINE_MS } from './api-connection.ts'
import { agentOf, type PodAgent } from './manifests/agent-container.ts'
import { namesIn } from './product-leases.ts'

const NAMES_IN_CLUSTER = ['leaseNamespace', 'leaseName', 'to']

/** The codes of rules, or the values of a flag in the user's cluster; empty if the cluster has none, or does not answer. */
export async function valuesOf(flag: string, typed: Readonly<Record<string, string>>): Promise<string[]> {
  if (flag === 'explain') {
    const { CATALOGUE } = await import('./check/check.ts')
    return CATALOGUE.map(({ code }) => code)
  }
  if (!NAMES_IN_CLUSTER.includes(flag)) return []
  const { kubeconfig = null, context = null, leaseNamespace = null, leaseName = null } = typed
  let objects: KubeObjects | undefined
  try {
    objects = await connectObjects({ kubeconfig, context, leaseNamespace })
    if (flag === 'leaseNamespace') return namesOf(await objects.list(NAMESPACE, DEADLINE_MS))
    if (flag === 'leaseName') return await namesIn(objects)
    const pods = await objects.list(POD, DEADLINE_MS)
    return namesOf(pods.filter((pod) => competes(agentOf(pod), leaseName)))
  } catch {
    return []
  } finally {
    objects?.close()
  }
}

function competes(agent: PodAgent | null, leaseName: string | null): boolean {
  return agent !== null && (leaseName === null || (agent.leaseName ?? leaseName) === leaseName)
}

function namesOf(objects: readonly KubeObject[]): string[] {
  return objects.map(({ metadata }) => metadata.name)
}

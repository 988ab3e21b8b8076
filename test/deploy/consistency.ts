import assert from 'node:assert/strict'
import type { AgentOptions } from '../../agent/config/options.ts'
import { parse } from '../config/commands.ts'
import { type Container, type Manifest, named, only, type PodSpec } from './manifests.ts'

/** The variables from the downward API: the field path, and the value in a Deployment's pod. */
const DOWNWARD = {
  POD_NAME: ['metadata.name', 'langflow-6d4cf56db6-x2x5p'],
  POD_UID: ['metadata.uid', 'b9d8'],
  POD_IP: ['status.podIP', '10.0.0.7'],
  POD_TEMPLATE_HASH: ["metadata.labels['pod-template-hash']", '6d4cf56db6'],
  CONTROLLER_REVISION_HASH: ["metadata.labels['controller-revision-hash']", ''],
} as const
const LEASES = { apiGroups: ['coordination.k8s.io'], resources: ['leases'] }

export function workloadOf(manifests: readonly Manifest[]): Manifest {
  const found = manifests.filter(
    ({ kind, metadata }) =>
      ['Deployment', 'StatefulSet'].includes(kind) &&
      metadata.labels?.['app.kubernetes.io/name'] === 'langflow',
  )
  assert.equal(found.length, 1)
  return found[0] as Manifest
}

export interface PodTemplate {
  metadata: Manifest['metadata']
  spec: PodSpec
}

export function podTemplates(manifests: readonly Manifest[]): PodTemplate[] {
  return manifests.flatMap(({ kind, metadata, spec }) => {
    if (kind === 'Pod') return [{ metadata, spec } as unknown as PodTemplate]
    const template = (spec?.jobTemplate?.spec ?? spec)?.template
    return template ? [template as PodTemplate] : []
  })
}

export function plainEnv({ env = [] }: Container): Record<string, string> {
  return Object.fromEntries(env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]])))
}

async function agentOptionsOf(container: Container): Promise<AgentOptions> {
  for (const [name, [path]] of Object.entries(DOWNWARD)) {
    assert.equal(named(container.env!, name).valueFrom?.fieldRef?.fieldPath, path)
  }
  const downward = Object.fromEntries(Object.entries(DOWNWARD).map(([name, [, value]]) => [name, value]))
  return (await parse(container.args!, { ...plainEnv(container), ...downward })).agent!
}

/** Asserts the hardening that goes beyond Pod Security's restricted level, which test/e2e/deploy.e2e.ts checks. */
function assertHardened({ spec }: PodTemplate): void {
  assert.equal(spec.automountServiceAccountToken, false)
  for (const { name, securityContext } of [...(spec.initContainers ?? []), ...spec.containers])
    assert.equal(securityContext.readOnlyRootFilesystem, true, name)
}

/**
 * Asserts the rules for every pod with agent and launcher that `check` does not cover (test/e2e/check.e2e.ts). Returns
 * the options of its agent.
 */
export async function assertConsistent(manifests: readonly Manifest[]): Promise<AgentOptions> {
  podTemplates(manifests).forEach(assertHardened)
  const workload = workloadOf(manifests)
  const pod = workload.spec.template.spec as PodSpec
  const names = pod.initContainers.map(({ name, restartPolicy }) => [name, restartPolicy])
  assert.deepEqual(names.slice(0, 2), [
    ['install', undefined],
    ['agent', 'Always'],
  ])
  const agent = named(pod.initContainers, 'agent')
  const options = await agentOptionsOf(agent)
  if (manifests.some(({ kind }) => kind === 'RoleBinding'))
    assertRights(manifests, `${workload.metadata.name}-leader`, pod.serviceAccountName, options)
  return options
}

/** Asserts that the agent's account has the Role, which has only the rights that the agent needs. */
function assertRights(
  manifests: readonly Manifest[],
  role: string,
  account: string,
  { leaseName, reportLostPods }: AgentOptions,
): void {
  const podStatus = { apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] }
  const { roleRef, subjects } = only(manifests, 'RoleBinding', role)
  assert.deepEqual([roleRef.name, subjects], [role, [{ kind: 'ServiceAccount', name: account }]])
  assert.deepEqual(only(manifests, 'Role', role).rules, [
    { ...LEASES, resourceNames: [leaseName], verbs: ['get', 'watch', 'update'] },
    { ...LEASES, verbs: ['create'] },
    { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create'] },
    ...(reportLostPods ? [podStatus] : []),
  ])
}

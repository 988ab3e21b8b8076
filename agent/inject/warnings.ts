import type { Traffic } from './settings.ts'
import { mountsToken, neighbours, type Workload } from './workload.ts'

/** What whoever applies the result should know: sentences without their subject. `services`: those that lead to it. */
export function warningsFor(workload: Workload, traffic: Traffic, services: number): string[] {
  const { manifest, replicas, spec } = workload
  const others = neighbours(workload)
  const ordered = manifest.kind === 'StatefulSet' && spec.podManagementPolicy !== 'Parallel'
  const warnings: string[] = []
  if (replicas === 1)
    warnings.push('it has one replica, so that none can take over: set replicas to 2 or more')
  if (ordered && traffic === 'readiness' && replicas > 2)
    warnings.push(
      `of its ${replicas} replicas the third is never made, since the second one never gets Ready: set podManagementPolicy to Parallel, which an existing StatefulSet must be deleted for (kubectl delete --cascade=orphan), or use --traffic label`,
    )
  if (traffic === 'label' && services === 0)
    warnings.push(
      'no Service in this stream leads to it: add langflow-leader/role: leader to the selector of the one that its clients use',
    )
  if (mountsToken(workload) && others.length > 0)
    warnings.push(
      `${others.join(' and ')} ${others.length > 1 ? 'lose' : 'loses'} the API server's token, which only the agent has from now on: mount a projected one where it is needed`,
    )
  return warnings
}

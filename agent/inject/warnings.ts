import type { Manifest } from './manifest.ts'
import type { InjectOptions } from './settings.ts'
import { asNumber, dig } from './value.ts'
import { mountsToken, neighbours, type Workload } from './workload.ts'

/**
 * What whoever applies the result should know: sentences without their subject. `services`: those that lead to it.
 * `wrapped`: it was already.
 */
export function warningsFor(
  workload: Workload,
  { traffic }: Pick<InjectOptions, 'traffic'>,
  { services, wrapped }: { services: number; wrapped: boolean },
): string[] {
  const { manifest, replicas, spec } = workload
  const others = neighbours(workload)
  const ordered = manifest.kind === 'StatefulSet' && spec.podManagementPolicy !== 'Parallel'
  const warnings = wrapped ? [] : strangersTo(manifest)
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

/** Of what a cluster gave out: old pods and new ones, of which only some know the Lease, would act at once. */
export function strangersTo({ value }: Manifest): string[] {
  const running = asNumber(dig(value, 'status', 'replicas')) ?? 0
  if (running === 0) return []
  return [
    `it has ${running} running ${running === 1 ? 'pod' : 'pods'}: scale it to 0 before you apply this, and back afterwards, since pods with an agent and pods without one act at once`,
  ]
}

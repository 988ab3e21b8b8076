import type { KubeObjects } from '../../kube/objects.ts'
import { drillOf, LAST_DRILL } from '../../lease/operation.ts'
import { type ErrorCode, OperationError } from '../exit-codes.ts'
import { swap } from '../swap.ts'
import type { DrillOptions, DrillStage } from './drill.ts'
import { keep } from './keep.ts'

/** Whoever is there knows of these, and another drill tells its own end. */
const NO_REFUSALS: readonly ErrorCode[] = ['interrupted', 'declined', 'drill']

/**
 * What a routine drill that could not be played leaves, since nobody looks at it: a result in the Lease, so that alerts tell of it, and
 * a short report. Resolves to what of it could not be written, each one sentence.
 *
 * @param keepIn the ConfigMap of the reports
 */
export async function noteRefusal(
  { cluster, service, clock }: Pick<DrillStage, 'cluster' | 'service' | 'clock'>,
  objects: Pick<KubeObjects, 'get' | 'update'>,
  { scenarios, perSecond, limits }: Pick<DrillOptions, 'scenarios' | 'perSecond' | 'limits'>,
  keepIn: string,
  error: unknown,
): Promise<string[]> {
  if (!(error instanceof OperationError) || NO_REFUSALS.includes(error.code)) return []
  const { wall } = clock.now()
  const at = new Date(wall).toISOString()
  const said = await Promise.allSettled([
    swap(cluster, (lease) => (drillOf(lease, wall) === null ? { [LAST_DRILL]: `${at} failed` } : null)),
    keep(objects, keepIn, {
      namespace: cluster.namespace,
      lease: cluster.leaseName,
      began: at,
      ended: at,
      result: 'failed',
      probe: service.what,
      perSecond,
      limits,
      scenarios: [],
      skipped: scenarios,
      notes: [`Nothing was done: ${error.message}.`],
    }),
  ])
  return said.flatMap((one) =>
    one.status === 'rejected' ? `the refusal is not kept: ${(one.reason as Error).message}` : [],
  )
}

import { createHash } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { type KubeObject, type MergePatch, type ObjectsApi, POD } from '../lease/kube-objects.ts'
import { LeaseApiError } from '../lease/lease-api.ts'
import { REQUEST_MS, type Route, RouteError } from './routed-traffic.ts'
import type { Known } from './traffic.ts'
import { CHANGED_AT, EPOCH, epochIn, LEASE, WrittenObject } from './written-object.ts'

export interface LabelRouteOptions {
  readonly api: Pick<ObjectsApi, 'get' | 'list' | 'patch' | 'close'>
  readonly pod: { readonly name: string; readonly uid: string }
  readonly leaseName: string
  readonly clock: Clock
}

/** What the Service selects by. */
const ROLE = 'langflow-leader/role'
/** A ReplicaSet that is scaled down deletes the pods with the lowest cost first; without one it counts as 0. */
const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost'
const LEADER_COST = '1000'

/**
 * Traffic by a label: the leader's pod carries `leader`, every other `standby`. Each agent labels its own pod; a leader
 * also relabels the pods of former leaders that could not, and never those of later ones.
 */
export class LabelRoute implements Route {
  private readonly options: LabelRouteOptions
  private readonly lease: string
  private readonly own: WrittenObject
  routedTo: string | null = null

  constructor(options: LabelRouteOptions) {
    this.options = options
    this.lease = labelValue(options.leaseName)
    this.own = new WrittenObject(options.clock)
  }

  async bring(wanted: Known): Promise<void> {
    // First, so that no two are reached. A failure must not keep this pod from its own label.
    const failure = wanted.epoch === null ? null : await this.strip(wanted.epoch)
    await this.labelOwn(wanted)
    if (failure !== null) throw failure
  }

  close(): void {
    this.options.api.close()
  }

  /** Relabels what former leaders left. Resolves to the first failure. */
  private async strip(epoch: number): Promise<unknown> {
    const { api, pod } = this.options
    let failure: unknown = null
    try {
      const labels = { [ROLE]: 'leader', [LEASE]: this.lease }
      for (const other of await api.list(POD, labels, REQUEST_MS)) {
        if (other.metadata.uid === pod.uid) continue
        await this.stripOne(other, epoch).catch((error: unknown) => {
          failure ??= error
        })
      }
    } catch (error) {
      failure = error
    }
    return failure
  }

  private async stripOne(pod: KubeObject, epoch: number): Promise<void> {
    const { name } = pod.metadata
    const its = epochIn(pod)
    if (its > epoch) {
      throw new RouteError(
        `the pod "${name}" is labelled as the leader of epoch ${its}, and this replica leads in epoch ${epoch}: ` +
          `if the Lease was made anew, run kubectl label pod ${name} ${ROLE}-`,
      )
    }
    try {
      await this.options.api.patch(POD, name, this.patchFor(pod, null), REQUEST_MS)
    } catch (error) {
      if (!(error instanceof LeaseApiError) || error.code !== 'not_found') throw error
    }
  }

  private async labelOwn(wanted: Known): Promise<void> {
    const { api, pod: own } = this.options
    const epoch = wanted.gate === 'open' ? wanted.epoch : null
    const pod = await api.get(POD, own.name, REQUEST_MS)
    if (pod.metadata.uid !== own.uid) {
      throw new RouteError(
        `the pod "${own.name}" has the UID ${pod.metadata.uid}, and POD_UID says ${own.uid}: ` +
          'take POD_NAME and POD_UID from metadata.name and metadata.uid of this very pod',
      )
    }
    if (!this.isSo(pod, epoch) || this.own.mayChange(pod)) {
      this.routedTo = null
      await this.own.write(pod, () => api.patch(POD, own.name, this.patchFor(pod, epoch), REQUEST_MS))
    }
    this.routedTo = epoch === null ? '' : own.name
  }

  private isSo({ metadata: { labels, annotations } }: KubeObject, epoch: number | null): boolean {
    const role = epoch === null ? 'standby' : 'leader'
    if (labels?.[ROLE] !== role || labels[LEASE] !== this.lease) return false
    const costs = annotations?.[DELETION_COST] === LEADER_COST
    return epoch === null
      ? annotations?.[EPOCH] === undefined && !costs
      : annotations?.[EPOCH] === String(epoch) && costs
  }

  /** @param epoch in which the pod leads; `null`: it does not */
  private patchFor({ metadata }: KubeObject, epoch: number | null): MergePatch {
    const { uid, resourceVersion, annotations } = metadata
    // A cost of somebody else's is left alone.
    const cost =
      epoch !== null ? LEADER_COST : annotations?.[DELETION_COST] === LEADER_COST ? null : undefined
    return {
      metadata: {
        uid,
        resourceVersion,
        labels: { [ROLE]: epoch === null ? 'standby' : 'leader', [LEASE]: this.lease },
        annotations: {
          [EPOCH]: epoch === null ? null : String(epoch),
          [CHANGED_AT]: this.own.changedAt(),
          ...(cost === undefined ? {} : { [DELETION_COST]: cost }),
        },
      },
    }
  }
}

/** A Lease's name may be longer than a label's value; what is cut off still tells two apart. */
function labelValue(leaseName: string): string {
  if (leaseName.length <= 63) return leaseName
  return `${leaseName.slice(0, 46)}-${createHash('sha256').update(leaseName).digest('hex').slice(0, 16)}`
}

import { createHash } from 'node:crypto'
import { ApiError } from '../kube/errors.ts'
import { type KubeObject, type MergePatch, type ObjectsApi, POD } from '../kube/objects.ts'
import {
  CHANGED_AT,
  EPOCH,
  epochIn,
  isOfAnotherLease,
  LEASE,
  LEASE_UID,
  REQUEST_MS,
  Route,
  RouteError,
  type RouteOptions,
} from './route.ts'
import type { Known } from './traffic.ts'

interface LabelRouteOptions extends RouteOptions {
  readonly api: Pick<ObjectsApi, 'get' | 'list' | 'patch' | 'close'>
  readonly pod: { readonly name: string; readonly uid: string }
}

/** What the Service selects by. */
const ROLE = 'langflow-leader/role'
/**
 * A ReplicaSet that is scaled down deletes the pods with the lowest cost first; without one it counts as 0. One that
 * somebody else has set is left alone.
 */
const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost'
const LEADER_COST = '1000'

/**
 * Traffic by a label: the leader's pod carries `leader`, every other `standby`. Each agent labels its own pod; a leader
 * also relabels the pods of former leaders that could not, and never those of later ones.
 */
export class LabelRoute extends Route<LabelRouteOptions> {
  private readonly lease = labelValue(this.options.leaseName)

  async bring(wanted: Known, still: () => boolean): Promise<void> {
    // First, so that no two are reached. A failure must not keep this pod from its own label; a later leader does.
    const problem = wanted.epoch === null ? null : await this.strip(wanted, wanted.epoch, still)
    if (wanted.epoch !== null && !still()) return
    await this.labelOwn(wanted, () => !(problem instanceof RouteError) && still())
    if (problem !== null) throw problem
  }

  /** Relabels what former leaders left, for as long as this one leads. What is wrong, or `null`; a later leader before all. */
  private async strip(wanted: Known, epoch: number, still: () => boolean): Promise<unknown> {
    const { api, pod, leads } = this.options
    let later: RouteError | null = null
    let failure: unknown = null
    let ours: boolean | undefined
    try {
      const labels = { [ROLE]: 'leader', [LEASE]: this.lease }
      for (const other of await api.list(POD, labels, REQUEST_MS)) {
        if (!still()) break
        if (other.metadata.uid === pod.uid) continue
        const anew = isOfAnotherLease(other, wanted)
        // Asked after the pods were read: whatever is written to them from then on makes a write to that version void.
        if (anew) ours ??= await leads(wanted)
        if (anew && !ours) later = ofAnotherLease(other)
        else if (!anew && epochIn(other) > epoch) later = laterLeader(other, epoch)
        else
          await this.stripOne(other).catch((error: unknown) => {
            failure = error
          })
      }
    } catch (error) {
      failure = error
    }
    return later ?? failure
  }

  private async stripOne(pod: KubeObject): Promise<void> {
    const { name } = pod.metadata
    try {
      await this.options.api.patch(POD, name, this.patchFor(pod, null, undefined), REQUEST_MS)
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 'not_found') throw error
    }
  }

  /** @param mayLead whether this pod may still be made the one that is reached */
  private async labelOwn(wanted: Known, mayLead: () => boolean): Promise<void> {
    const { api, pod: own } = this.options
    const epoch = wanted.gate === 'open' ? wanted.epoch : null
    const pod = await api.get(POD, own.name, REQUEST_MS)
    if (pod.metadata.uid !== own.uid) {
      this.routedTo = null
      throw new RouteError(
        `this pod was deleted, and another has its name: "${own.name}" has the UID ${pod.metadata.uid}, and POD_UID ` +
          `says ${own.uid}; if it was not deleted, take POD_NAME and POD_UID from metadata.name and metadata.uid`,
      )
    }
    const { leaseUid } = wanted
    if (!this.isSo(pod, epoch, leaseUid) || this.mayChange(pod)) {
      this.routedTo = null
      if (epoch !== null && !mayLead()) return
      await this.write(pod, () => api.patch(POD, own.name, this.patchFor(pod, epoch, leaseUid), REQUEST_MS))
    }
    this.routedTo = epoch === null ? '' : own.name
  }

  private isSo(
    { metadata: { labels, annotations } }: KubeObject,
    epoch: number | null,
    leaseUid: string | undefined,
  ): boolean {
    const role = epoch === null ? 'standby' : 'leader'
    if (labels?.[ROLE] !== role || labels[LEASE] !== this.lease) return false
    const cost = annotations?.[DELETION_COST]
    return epoch === null
      ? annotations?.[EPOCH] === undefined && cost !== LEADER_COST
      : annotations?.[EPOCH] === String(epoch) && annotations[LEASE_UID] === leaseUid && cost !== undefined
  }

  /** @param epoch in which the pod leads; `null`: it does not */
  private patchFor({ metadata }: KubeObject, epoch: number | null, leaseUid: string | undefined): MergePatch {
    const { uid, resourceVersion, annotations } = metadata
    const foreign = ![undefined, LEADER_COST].includes(annotations?.[DELETION_COST])
    return {
      metadata: {
        uid,
        resourceVersion,
        labels: { [ROLE]: epoch === null ? 'standby' : 'leader', [LEASE]: this.lease },
        annotations: {
          [EPOCH]: epoch === null ? null : String(epoch),
          [LEASE_UID]: epoch === null ? null : (leaseUid ?? null),
          [CHANGED_AT]: this.changedAt(),
          ...(foreign ? {} : { [DELETION_COST]: epoch === null ? null : LEADER_COST }),
        },
      },
    }
  }
}

function laterLeader(pod: KubeObject, epoch: number): RouteError {
  const { name } = pod.metadata
  return new RouteError(
    `the pod "${name}" is labelled as the leader of epoch ${epochIn(pod)}, and this replica leads in epoch ${epoch}: ` +
      `if the epoch in the Lease was set back by hand, run kubectl label pod ${name} ${ROLE}-`,
  )
}

function ofAnotherLease({ metadata: { name } }: KubeObject): RouteError {
  return new RouteError(
    `the pod "${name}" is labelled as the leader by another Lease of this name than the one in which this replica leads, and ` +
      'the one that exists now is not held by it: the label is left to whoever holds that',
  )
}

/** A Lease's name may be longer than a label's value; what is cut off still tells two apart. */
function labelValue(leaseName: string): string {
  if (leaseName.length <= 63) return leaseName
  return `${leaseName.slice(0, 46)}-${createHash('sha256').update(leaseName).digest('hex').slice(0, 16)}`
}

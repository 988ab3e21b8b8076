import { isIP } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { ApiError } from '../kube/errors.ts'
import { ENDPOINT_SLICE, type KubeObject, type ObjectsApi } from '../kube/objects.ts'
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

interface SliceRouteOptions extends RouteOptions {
  readonly api: Pick<ObjectsApi, 'get' | 'update' | 'close' | 'namespace'>
  readonly name: string
  readonly pod: { readonly name: string; readonly uid: string; readonly ip: string }
  readonly identity: string
}

/** Whose epoch it is. */
const HOLDER = 'langflow-leader/holder'

interface Endpoint {
  readonly addresses?: readonly string[]
  readonly targetRef?: { readonly name?: string }
}

/**
 * Traffic by one EndpointSlice, which a Service without a selector has: the leader writes its own address into it, and
 * nothing else. It belongs to the highest epoch that wrote to it, of the Lease that exists now.
 */
export class SliceRoute extends Route<SliceRouteOptions> {
  async bring(wanted: Known, still: () => boolean): Promise<void> {
    const { api } = this.options
    const slice = await this.read()
    this.routedTo = podIn(slice)
    this.check(slice)
    const anew = isOfAnotherLease(slice, wanted)
    if (anew) await this.askLease(wanted)
    const next = this.nextOf(slice, wanted, anew)
    if (next === null || (wanted.epoch !== null && !still())) return
    this.routedTo = null
    this.routedTo = podIn(await this.write(slice, () => api.update(ENDPOINT_SLICE, next, REQUEST_MS)))
  }

  private async read(): Promise<KubeObject> {
    const { api, name } = this.options
    try {
      return await api.get(ENDPOINT_SLICE, name, REQUEST_MS)
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 'not_found') throw error
      throw new RouteError(
        `${error.message}: apply the one of deploy/components/traffic-slice, or name yours with --endpoint-slice`,
      )
    }
  }

  /** What is wrong with it however the gate stands, so that a standby tells it before it leads. */
  private check({ metadata, addressType }: KubeObject): void {
    const { name, leaseName, pod } = this.options
    const lease = metadata.annotations?.[LEASE]
    if (lease !== undefined && lease !== leaseName) {
      throw new RouteError(
        `the EndpointSlice "${name}" belongs to the Lease "${lease}", not to "${leaseName}": give each LangFlow its own ` +
          `with --endpoint-slice, or free it with kubectl annotate endpointslice ${name} ${LEASE}- ${LEASE_UID}- ${EPOCH}- ${HOLDER}-`,
      )
    }
    const family = `IPv${isIP(pod.ip)}`
    if (addressType !== family) {
      throw new RouteError(
        `the EndpointSlice "${name}" is for ${String(addressType)}, and this pod's address ${pod.ip} is ${family}: ` +
          `delete it and make it anew with addressType ${family}`,
      )
    }
  }

  /** Asked after the slice was read: whatever is written to it from then on makes the write to that version void. */
  private async askLease(wanted: Known): Promise<void> {
    const { name, leads, leaseName } = this.options
    if (await leads(wanted)) return
    throw new RouteError(
      `the EndpointSlice "${name}" is of another Lease "${leaseName}" than the one in which this replica leads, and the one ` +
        'that exists now is not held by it: the slice is left to whoever holds that',
    )
  }

  /**
   * What to write; `null`: nothing.
   *
   * @param anew the epoch in it is of a Lease that is no more
   */
  private nextOf(slice: KubeObject, wanted: Known, anew: boolean): KubeObject | null {
    const { name, identity, leaseName } = this.options
    const annotations = slice.metadata.annotations ?? {}
    const mine = annotations[HOLDER] === identity
    // Whoever does not lead gives back what is his, and that is all. What he sent and got no answer to must not come late.
    if (wanted.epoch === null && !mine) return this.mayChange(slice) ? this.touched(slice, {}) : null
    const its = epochIn(slice)
    const epoch = wanted.epoch ?? its
    if (its > epoch && !anew) {
      throw new RouteError(
        `the EndpointSlice "${name}" was written in epoch ${its}, and this replica leads in epoch ${epoch}: ` +
          `if the epoch in the Lease was set back by hand, run kubectl annotate endpointslice ${name} ${EPOCH}-`,
      )
    }
    const endpoints = wanted.gate === 'open' ? [this.endpoint()] : []
    const isSo =
      mine &&
      its === epoch &&
      (wanted.leaseUid ?? annotations[LEASE_UID]) === annotations[LEASE_UID] &&
      annotations[LEASE] === leaseName &&
      isDeepStrictEqual(slice.endpoints ?? [], endpoints)
    if (isSo && !this.mayChange(slice)) return null
    const uid = wanted.leaseUid === undefined ? {} : { [LEASE_UID]: wanted.leaseUid }
    const claim = { [HOLDER]: identity, [EPOCH]: String(epoch), [LEASE]: leaseName, ...uid }
    return { ...this.touched(slice, claim), endpoints }
  }

  /** A new version of it, so that a write to this one is refused from then on. */
  private touched(slice: KubeObject, more: Readonly<Record<string, string>>): KubeObject {
    const { metadata } = slice
    const annotations = { ...metadata.annotations, ...more, [CHANGED_AT]: this.changedAt() }
    return { ...slice, metadata: { ...metadata, annotations } }
  }

  private endpoint(): object {
    const { api, pod } = this.options
    return {
      addresses: [pod.ip],
      conditions: { ready: true, serving: true, terminating: false },
      targetRef: { kind: 'Pod', namespace: api.namespace, name: pod.name, uid: pod.uid },
    }
  }
}

/** As people know it: the pod's name, or an address that somebody else wrote. */
function podIn({ endpoints }: KubeObject): string {
  const [first] = (endpoints ?? []) as readonly Endpoint[]
  return first?.targetRef?.name ?? first?.addresses?.[0] ?? ''
}

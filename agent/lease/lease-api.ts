import type { ApiError } from '../kube/errors.ts'
import type { Lease } from './lease.ts'

export type WatchEvent =
  | { type: 'changed'; lease: Lease }
  | { type: 'deleted'; resourceVersion: string | undefined }
  | { type: 'bookmark'; resourceVersion: string | undefined }

export interface WatchHandlers {
  event(event: WatchEvent): void
  /** Called exactly once, unless `close()` came first. A server ending the watch in order gives no error. */
  ended(error?: ApiError): void
}

export interface OpenWatch {
  close(): void
}

/**
 * One Lease object in one namespace. Every request has a deadline of its own, in milliseconds, after which its
 * connection is destroyed and the promise rejects with code `timeout`. All rejections are `ApiError`.
 */
export interface LeaseApi {
  /**
   * A consistent (quorum) read; `null` where the Lease does not exist. Over a new connection, and over others where that
   * one brings no answer soon, so that it tells whether there is a way to an API server.
   */
  read(deadlineMs: number): Promise<Lease | null>
  /**
   * Compare-and-swap on `lease.metadata.resourceVersion`. One that is not answered in two fifths of its time is looked
   * after by a read; where that is answered, it settles what became of the update so far. `seen` is told what else that
   * showed of the Lease, and the answer where it comes after all.
   */
  update(lease: Lease, deadlineMs: number, seen?: (lease: Lease) => void): Promise<Lease>
  create(lease: Lease, deadlineMs: number): Promise<Lease>
  /**
   * Has the API server say whether it would take an update of this Lease, or its creation where there is `null`, without
   * making it. Rejects as the write itself would: e.g. with `conflict`, which the right to write does not stand behind.
   */
  rehearse(lease: Lease | null, deadlineMs: number): Promise<void>
  /**
   * Opens a watch on this one object. Without `resourceVersion` the server first sends its present state, if any.
   * Resolves once the server has answered 200.
   */
  watch(resourceVersion: string | undefined, handlers: WatchHandlers, deadlineMs: number): Promise<OpenWatch>
  close(): void
}

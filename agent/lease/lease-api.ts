import type { Lease } from './lease.ts'

/** Why a request to the Lease API failed. */
export type LeaseErrorCode =
  | 'conflict' // 409 on an update: the object has another resourceVersion
  | 'already_exists' // 409 on a create
  | 'not_found' // 404
  | 'unauthorized' // 401, after credentials were read again once
  | 'forbidden' // 403: RBAC; the message names verb and resource
  | 'throttled' // 429
  | 'not_kept' // 200, with a Lease that does not carry what was written
  | 'gone' // 410: a watch must start anew
  | 'invalid' // other 4xx
  | 'server' // 5xx
  | 'timeout' // no answer within the request's deadline
  | 'network' // not connected, TLS error, connection reset, an answer that is no JSON

/** A failed request to the Lease API. */
export class LeaseApiError extends Error {
  readonly code: LeaseErrorCode
  /**
   * `false` when the API server certainly did not apply the write; `true` when it may have, although the
   * answer never came. Connection refused and every 4xx are certain; timeouts, resets and 5xx are not.
   */
  readonly mayHaveCommitted: boolean
  readonly status: number | undefined
  /** How long the API server asked to wait before the next request. */
  readonly retryAfterMs: number | undefined
  constructor(
    code: LeaseErrorCode,
    message: string,
    options: {
      mayHaveCommitted?: boolean
      status?: number | undefined
      retryAfterMs?: number | undefined
      cause?: unknown
    } = {},
  ) {
    super(message, { cause: options.cause })
    this.name = 'LeaseApiError'
    this.code = code
    this.mayHaveCommitted = options.mayHaveCommitted ?? false
    this.status = options.status
    this.retryAfterMs = options.retryAfterMs
  }
}

export type WatchEvent =
  | { type: 'changed'; lease: Lease }
  | { type: 'deleted'; resourceVersion: string | undefined }
  | { type: 'bookmark'; resourceVersion: string | undefined }

export interface WatchHandlers {
  event(event: WatchEvent): void
  /** Called exactly once, unless `close()` came first. A server ending the watch in order gives no error. */
  ended(error?: LeaseApiError): void
}

export interface OpenWatch {
  close(): void
}

/**
 * One Lease object in one namespace. Every request has a deadline of its own, in milliseconds, after which its
 * connection is destroyed and the promise rejects with code `timeout`. All rejections are `LeaseApiError`.
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

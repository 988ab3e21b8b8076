import type { ConnectionOptions } from 'node:tls'
import { FatalError } from '../exit.ts'

/** A kubeconfig, or what a pod is given in its place, cannot be used: one sentence that says what to change. */
export class KubeConfigError extends FatalError {
  constructor(sentence: string, options: { cause?: unknown } = {}) {
    super(sentence, options)
    this.name = 'KubeConfigError'
  }
}

/** What one request shows to the API server, and where it goes. Holds secrets: never to be logged. */
export interface KubeCredentials {
  /** May have a base path, and is http only where a kubeconfig says so. */
  readonly server: URL
  readonly headers: Readonly<Record<string, string>>
  readonly tls: Pick<
    ConnectionOptions,
    'ca' | 'cert' | 'key' | 'pfx' | 'passphrase' | 'servername' | 'rejectUnauthorized'
  >
  /** An http or https proxy. */
  readonly proxy: string | undefined
}

/** How this process reaches the API server and proves who it is. */
export interface KubeAccess {
  /** Where the credentials come from, for messages, e.g. `kubeconfig /home/me/.kube/config`. */
  readonly source: string
  readonly server: URL
  /** What the source names as its namespace. */
  readonly namespace: string | undefined
  /**
   * What to show now. Files are read again when they changed, so this is asked before each request.
   * Rejects with `KubeConfigError`.
   */
  credentials(): Promise<KubeCredentials>
  /** The API server refused what was shown: nothing remembered may be shown again. */
  reload(): void
}

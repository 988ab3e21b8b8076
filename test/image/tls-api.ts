import { connect } from 'node:net'
import { pipeline } from 'node:stream'
import { createServer, type Server } from 'node:tls'
import type { LeaseSpec } from '../../agent/lease/lease.ts'
import { type EmbeddedLeaseApi, startEmbeddedLeaseApi } from '../harness/api/embedded-lease-api.ts'
import { makeCertificate } from '../harness/certificate.ts'
import { freePort } from '../harness/free-port.ts'

const LEASE = 'langflow-leader-lock'

/** The embedded API behind TLS, with a certificate of its own as a cluster's API server has one. */
export class TlsApi {
  private readonly api: EmbeddedLeaseApi
  private readonly server: Server
  private readonly kubeconfigText: string

  private constructor(api: EmbeddedLeaseApi, server: Server, kubeconfigText: string) {
    this.api = api
    this.server = server
    this.kubeconfigText = kubeconfigText
  }

  /** Its certificate is made in `dir`. */
  static async start(dir: string): Promise<TlsApi> {
    const api = await startEmbeddedLeaseApi({
      leases: [{ metadata: { name: LEASE, namespace: 'default' }, spec: {} }],
    })
    const certificate = makeCertificate(dir, 'api')
    const port = await freePort()
    const server = createServer(certificate, (socket) => {
      const inner = connect(api.port, '127.0.0.1')
      // The end of one is that of the other; why it ended is of no interest here.
      pipeline(socket, inner, socket, () => {})
    })
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    const cluster = {
      server: `https://127.0.0.1:${port}`,
      'certificate-authority-data': Buffer.from(certificate.cert).toString('base64'),
    }
    return new TlsApi(api, server, kubeconfigOf(cluster))
  }

  get kubeconfig(): string {
    return this.kubeconfigText
  }

  lease(): LeaseSpec {
    return this.api.lease(LEASE)?.spec ?? {}
  }

  async close(): Promise<void> {
    await this.api.close()
    await new Promise((resolve) => this.server.close(resolve))
  }
}

/** For one cluster, without credentials. */
export function kubeconfigOf(cluster: Readonly<Record<string, string>>): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'the',
    contexts: [{ name: 'the', context: { cluster: 'the', user: 'the' } }],
    clusters: [{ name: 'the', cluster }],
    users: [{ name: 'the', user: {} }],
  })
}

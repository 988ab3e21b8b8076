import { connect } from 'node:net'
import { pipeline } from 'node:stream'
import { createServer, type Server } from 'node:tls'
import { systemClock } from '../../agent/clock.ts'
import { LeaseServer } from '../../agent/demo/api-server.ts'
import type { LeaseSpec } from '../../agent/lease/lease.ts'
import { makeCertificate } from '../support/certificate.ts'
import { freePort } from '../support/free-port.ts'

const LEASE = 'langflow-leader-lock'

/** The embedded API behind TLS, with a certificate of its own as a cluster's API server has one. */
export class TlsApi {
  private readonly api: LeaseServer
  private readonly server: Server
  private readonly kubeconfigText: string

  private constructor(api: LeaseServer, server: Server, kubeconfigText: string) {
    this.api = api
    this.server = server
    this.kubeconfigText = kubeconfigText
  }

  /** Its certificate is made in `dir`. */
  static async start(dir: string): Promise<TlsApi> {
    const api = new LeaseServer(systemClock)
    api.put({ metadata: { name: LEASE }, spec: {} })
    await api.listen()
    const certificate = makeCertificate(dir, 'api')
    const port = await freePort()
    const server = createServer(certificate, (socket) => {
      const inner = connect(Number(new URL(api.url).port), '127.0.0.1')
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

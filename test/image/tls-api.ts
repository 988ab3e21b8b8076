import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import type { TestContext } from 'node:test'
import { createServer } from 'node:tls'
import { systemClock } from '../../agent/clock.ts'
import { LeaseServer } from '../harness/api/api-server.ts'
import { makeCertificate } from '../harness/certificate.ts'

const LEASE = 'langflow-leader-lock'

/** Starts the embedded API behind TLS with its own certificate, like a cluster's API server, until the test ends. */
export async function startTlsApi(t: TestContext, scratch: string) {
  const api = new LeaseServer(systemClock)
  api.put({ metadata: { name: LEASE }, spec: {} })
  await api.listen()
  const certificate = makeCertificate(mkdtempSync(join(scratch, 'tls-')), 'api')
  const server = createServer(certificate, (socket) => {
    // `pipeline` closes both connections together. Their errors don't matter here.
    pipeline(socket, connect(Number(new URL(api.url).port), '127.0.0.1'), socket, () => {})
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(async () => {
    await api.close()
    await new Promise((resolve) => server.close(resolve))
  })
  const kubeconfig = kubeconfigOf({
    server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    'certificate-authority-data': Buffer.from(certificate.cert).toString('base64'),
  })
  return { kubeconfig, lease: () => api.lease(LEASE)?.spec ?? {} }
}

/** A kubeconfig for one cluster without credentials. */
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

import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { makeCertificate } from '../certificate.ts'
import type { ApiServerScene } from '../scene.ts'

/**
 * Makes kube-apiserver refuse every update of the scene's Lease with this code, a 4xx or 5xx, through an admission webhook. The
 * returned function ends it.
 */
export async function refuseWrites(
  { dir, namespace, plane }: Pick<ApiServerScene, 'dir' | 'namespace' | 'plane'>,
  code: number,
): Promise<() => Promise<void>> {
  const certificate = makeCertificate(dir, 'webhook')
  const server = createServer(certificate, async (request, response) => {
    // At the end, the API server may be sending a request.
    const sent = (await json(request).catch(() => null)) as { request: { uid: string } } | null
    if (sent === null) return
    const status = { code, message: 'refused by the webhook of a test' }
    const review = {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: { uid: sent.request.uid, allowed: false, status },
    }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(review))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const name = `refusals.${namespace}.test`
  const webhook = {
    name,
    admissionReviewVersions: ['v1'],
    sideEffects: 'None',
    // A webhook that is left over from a failed call must refuse nothing.
    failurePolicy: 'Ignore',
    clientConfig: {
      url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/`,
      caBundle: Buffer.from(certificate.cert).toString('base64'),
    },
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
    rules: [
      {
        apiGroups: ['coordination.k8s.io'],
        apiVersions: ['*'],
        operations: ['UPDATE'],
        resources: ['leases'],
      },
    ],
  }
  const configuration = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingWebhookConfiguration',
    metadata: { name },
    webhooks: [webhook],
  }
  const end = async () => {
    server.closeAllConnections()
    server.close()
    await plane.kubectl(['delete', 'validatingwebhookconfiguration', '--ignore-not-found', name])
  }
  try {
    await plane.kubectl(['apply', '-f', '-'], JSON.stringify(configuration))
    return end
  } catch (error) {
    server.close()
    throw error
  }
}

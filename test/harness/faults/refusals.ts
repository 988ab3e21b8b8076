import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { makeCertificate } from '../certificate.ts'
import type { ApiServerScene } from '../scene.ts'

/** The part of a scene that the refusals need. */
type Place = Pick<ApiServerScene, 'dir' | 'namespace' | 'plane'>

/** Makes kube-apiserver refuse every update of the scene's Lease, through an admission webhook. */
export class Refusals {
  readonly #scene: Place
  readonly #name: string
  readonly #server: ReturnType<typeof createServer>
  readonly #ca: string
  #code = 500
  /** Number of refused updates. */
  count = 0

  private constructor(scene: Place) {
    const certificate = makeCertificate(scene.dir, 'webhook')
    this.#scene = scene
    this.#name = `refusals.${scene.namespace}.test`
    this.#ca = Buffer.from(certificate.cert).toString('base64')
    this.#server = createServer(certificate, async (request, response) => {
      const { request: asked } = (await json(request)) as { request: { uid: string } }
      this.count += 1
      const status = { code: this.#code, message: 'refused by the webhook of a test' }
      const review = {
        apiVersion: 'admission.k8s.io/v1',
        kind: 'AdmissionReview',
        response: { uid: asked.uid, allowed: false, status },
      }
      response.setHeader('content-type', 'application/json').end(JSON.stringify(review))
    })
  }

  static async open(scene: Place): Promise<Refusals> {
    const refusals = new Refusals(scene)
    refusals.#server.listen(0, '127.0.0.1')
    await once(refusals.#server, 'listening')
    return refusals
  }

  /** Refuses updates with this code, which must be a 4xx or 5xx, until `end`. */
  async begin(code: number): Promise<void> {
    this.#code = code
    const { port } = this.#server.address() as AddressInfo
    const configuration = {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name: this.#name },
      webhooks: [
        {
          name: this.#name,
          admissionReviewVersions: ['v1'],
          sideEffects: 'None',
          clientConfig: { url: `https://127.0.0.1:${port}/`, caBundle: this.#ca },
          namespaceSelector: {
            matchLabels: { 'kubernetes.io/metadata.name': this.#scene.namespace },
          },
          rules: [
            {
              apiGroups: ['coordination.k8s.io'],
              apiVersions: ['*'],
              operations: ['UPDATE'],
              resources: ['leases'],
            },
          ],
        },
      ],
    }
    await this.#scene.plane.kubectl(['apply', '-f', '-'], JSON.stringify(configuration))
  }

  async end(): Promise<void> {
    await this.#scene.plane.kubectl([
      'delete',
      'validatingwebhookconfiguration',
      '--ignore-not-found',
      this.#name,
    ])
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

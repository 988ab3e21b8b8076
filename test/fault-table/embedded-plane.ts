import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../agent/clock.ts'
import { kubeconfigFor, LeaseServer } from '../harness/api/api-server.ts'
import { TcpProxy } from '../harness/faults/tcp-proxy.ts'
import { LEASE, type SceneServer } from '../harness/scene.ts'

/** The embedded API server in place of a real one. It runs in the test's process, so a proxy simulates its faults. */
export class EmbeddedPlane implements SceneServer {
  readonly adminToken = 'none'
  readonly caFile = undefined
  readonly #api = new LeaseServer(systemClock)
  readonly #dir = mkdtempSync(join(tmpdir(), 'embedded-plane-'))
  #proxy!: TcpProxy
  #namespaces = 0

  static async start(): Promise<EmbeddedPlane> {
    const plane = new EmbeddedPlane()
    await plane.#api.listen()
    plane.#proxy = await TcpProxy.open(Number(new URL(plane.#api.url).port))
    return plane
  }

  get serverUrl(): string {
    return `http://127.0.0.1:${this.#proxy.port}`
  }

  async newNamespace(): Promise<string> {
    this.#namespaces += 1
    return `team-${this.#namespaces}`
  }

  /** Every client has every right, so this only makes the Lease and a kubeconfig. */
  async deployRights(namespace: string): Promise<string> {
    this.#api.put({ metadata: { name: LEASE, namespace }, spec: {} })
    const file = join(this.#dir, `${namespace}.kubeconfig`)
    writeFileSync(file, kubeconfigFor(this.serverUrl))
    return file
  }

  /** Connections are accepted but get no answer, as after SIGSTOP of kube-apiserver. */
  pause(): void {
    this.#proxy.partition()
  }

  resume(): void {
    this.#proxy.flow({ toServer: 'pass', toClient: 'pass' })
  }

  async close(): Promise<void> {
    await this.#proxy.close()
    await this.#api.close()
    rmSync(this.#dir, { recursive: true })
  }
}

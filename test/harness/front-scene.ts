import { execFile } from 'node:child_process'
import { isIPv6 } from 'node:net'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'
import { Client } from './client.ts'
import type { ControlPlane } from './control-plane.ts'
import { freePort } from './free-port.ts'
import { FAST, type Replica, type ReplicaOptions } from './replica.ts'
import { ApiServerScene, LEASE } from './scene.ts'
import { mono, until } from './wait.ts'

const run = promisify(execFile)

interface Answer {
  readonly replica: string
  readonly epoch: number
}

interface Endpoint {
  readonly port: number
  /** Clients use it, as they use the ready endpoints of a Service. */
  open: boolean
}

const EVERY_MS = 50

/** Replicas with fronts as in pods, and a client that uses the fronts in turn and never retries. */
export class FrontScene extends ApiServerScene {
  readonly endpoints = new Map<string, Endpoint>()
  /** The address of all fronts. */
  address = '127.0.0.1'
  private turn = 0
  client!: Client<Answer>

  static async empty(t: TestContext, plane: ControlPlane): Promise<FrontScene> {
    const scene = await FrontScene.open(plane)
    t.after(async () => {
      await scene.client?.stop()
      await scene.close()
    })
    return scene
  }

  static async start(t: TestContext, plane: ControlPlane, flags = FAST) {
    const scene = await FrontScene.empty(t, plane)
    const [a, b] = await scene.pair({ flags })
    await scene.admitClients(a, b)
    return { scene, a, b }
  }

  /** Like `start`, with agent and LangFlow in separate containers. */
  static async startPods(t: TestContext, plane: ControlPlane) {
    const scene = await FrontScene.empty(t, plane)
    const a = await scene.pod('a')
    await a.agent.event('serving')
    const b = await scene.pod('b')
    await b.agent.event('standby_ready')
    await scene.admitClients(a, b)
    return { scene, a, b }
  }

  /** Starts the client once each front accepts clients. */
  async admitClients(...replicas: Pick<Replica, 'get'>[]): Promise<void> {
    for (const replica of replicas) await takesClients(replica)
    for (const endpoint of this.endpoints.values()) endpoint.open = true
    this.client = new Client<Answer>({
      everyMs: EVERY_MS,
      withinMs: 60_000,
      // Each request takes 100 ms, so that some are in flight at any time.
      target: () => this.next('/slow=100'),
      asked: { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"input":"hello"}' },
      read: (text) => JSON.parse(text) as Answer,
    })
    await this.answers(10)
  }

  protected override async prepare(name: string, { flags = FAST, env, ...more }: Partial<ReplicaOptions>) {
    const port = await freePort()
    this.endpoints.set(name, { port, open: false })
    const front = {
      LEADER_TRAFFIC: 'front',
      LEADER_FRONT_LISTEN: `${this.host}:${port}`,
      LEADER_STREAM_GRACE: '500ms',
      POD_NAME: name,
      POD_UID: name,
      POD_IP: this.address,
    }
    return super.prepare(name, { ...more, flags, env: { ...front, ...env } })
  }

  private get host(): string {
    return isIPv6(this.address) ? `[${this.address}]` : this.address
  }

  private next(path: string) {
    const open = [...this.endpoints].filter(([, endpoint]) => endpoint.open)
    const [to, endpoint] = open[this.turn++ % open.length] ?? []
    return to === undefined || endpoint === undefined ? undefined : { to, url: this.url(to) + path }
  }

  url(name: string): string {
    return `http://${this.host}:${this.endpoints.get(name)?.port}`
  }

  /** Lets clients use this front. */
  admit(name: string): void {
    Object.assign(this.endpoints.get(name) ?? {}, { open: true })
  }

  /** Stops sending clients to this front. */
  shut(name: string): void {
    Object.assign(this.endpoints.get(name) ?? {}, { open: false })
  }

  /** Resolves once a replica, or this one, has answered `count` of the calls sent from now on, through any front. */
  async answers(count: number, by?: string): Promise<void> {
    const from = mono()
    const answered = () =>
      this.client.calls.filter(
        ({ sentAt, answer }) =>
          sentAt >= from && answer !== null && (by ?? answer.replica) === answer.replica,
      ).length
    await until(`${count} answers from ${by ?? 'a replica'}`, () => answered() >= count)
  }

  /** Stops the client, and returns its failed calls and the duration of the longest successful one. */
  async outcome() {
    await this.client.stop()
    const { calls } = this.client
    const failed = calls.filter(({ failure }) => failure !== null)
    const waits = calls.filter(({ failure }) => failure === null).map((call) => call.endedAt - call.sentAt)
    return {
      failed: failed.map(({ to, failure, sentAt, endedAt }) => ({
        to,
        failure,
        sentAt,
        tookMs: endedAt - sentAt,
      })),
      longestMs: Math.max(...waits),
    }
  }

  /** The annotation of the Lease with the leader's epoch, front address and key. */
  async frontNote(): Promise<string> {
    const { stdout } = await this.kubectl('get', 'lease', LEASE, '-o', 'json')
    return JSON.parse(stdout).metadata.annotations?.['langflow-leader/front'] ?? ''
  }

  switchOver(): Promise<unknown> {
    return this.kubectl('annotate', 'lease', LEASE, 'langflow-leader/switchover-to=*')
  }
}

export function takesClients(replica: Pick<Replica, 'get'>): Promise<void> {
  // At first, the agent doesn't listen yet.
  const status = () =>
    replica.get('/frontz').then(
      (answer) => answer.status,
      () => 0,
    )
  return until('a front that accepts clients', async () => (await status()) === 200)
}

/** The PID of an agent's front. */
export async function frontPid({ pid }: Pick<Replica, 'pid'>): Promise<number> {
  const { stdout } = await run('pgrep', ['-P', String(pid), '-f', ' front$'])
  return Number(stdout)
}

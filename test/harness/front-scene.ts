import { execFile } from 'node:child_process'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'
import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { Client } from './client.ts'
import type { ControlPlane } from './control-plane.ts'
import { freePort } from './free-port.ts'
import type { Pod } from './pod.ts'
import { ask, askStatus, FAST, type Replica, type ReplicaOptions } from './replica.ts'
import { ApiServerScene, LEASE, lives } from './scene.ts'
import { mono, until } from './wait.ts'

const run = promisify(execFile)

interface Answer {
  readonly replica: string
  readonly epoch: number
}

interface Endpoint {
  readonly agent: number
  readonly front: number
  /** Clients use it, as they use the ready endpoints of a Service. */
  open: boolean
}

const EVERY_MS = 50

/** Replicas with fronts as in pods, and a client that uses the fronts in turn and never retries. */
export class FrontScene extends ApiServerScene {
  readonly endpoints = new Map<string, Endpoint>()
  /** The ports at which replicas reach the agents of their peers. Empty: they have no peers. */
  peers: readonly number[] = []
  client!: Client<Answer>
  private turn = 0

  static async start(t: TestContext, plane: ControlPlane, more: Partial<ReplicaOptions> = {}) {
    const scene = await FrontScene.open(plane, t)
    const [a, b] = await scene.pair(more)
    await scene.admitClients('a', 'b')
    return { scene, a, b }
  }

  static async startPods(t: TestContext, plane: ControlPlane, more: Partial<ReplicaOptions> = {}) {
    const scene = await FrontScene.open(plane, t)
    await scene.choosePorts('a', 'b')
    const a = await scene.pod('a', more)
    await a.agent.event('serving')
    const b = await scene.pod('b', more)
    await b.agent.event('standby_ready')
    await scene.admitClients('a', 'b')
    return { scene, a, b }
  }

  async choosePorts(...names: readonly string[]): Promise<void> {
    for (const name of names)
      this.endpoints.set(name, { agent: await freePort(), front: await freePort(), open: false })
    this.peers = [...this.endpoints.values()].map(({ agent }) => agent)
  }

  async admitClients(...names: readonly string[]): Promise<void> {
    for (const name of names) await this.admit(name)
    this.client = new Client<Answer>({
      everyMs: EVERY_MS,
      withinMs: 60_000,
      // Each request takes 100 ms, so that some are in flight at any time.
      target: () => this.next('/slow=100'),
      asked: { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"input":"hello"}' },
      read: (text) => JSON.parse(text) as Answer,
    })
    this.atEnd(() => this.client.stop())
    await this.answers(10)
  }

  protected override async prepare(name: string, { flags = [], env, ...more }: Partial<ReplicaOptions>) {
    if (!this.endpoints.has(name)) {
      this.endpoints.set(name, { agent: await freePort(), front: await freePort(), open: false })
    }
    const { agent, front } = this.endpoint(name)
    const peers = this.peers.map((port) => `localhost:${port}`).join()
    const ofFront = {
      LEADER_TRAFFIC: 'front',
      LEADER_FRONT_LISTEN: `127.0.0.1:${front}`,
      LEADER_STREAM_GRACE: '500ms',
      // The client keeps requests in flight at any time.
      LEADER_QUIET_TIMEOUT: '300ms',
      POD_NAME: name,
      POD_UID: name,
      POD_IP: '127.0.0.1',
    }
    return super.prepare(name, {
      httpPort: agent,
      ...more,
      flags: [...FAST, ...(peers === '' ? [] : [`--peers=${peers}`]), ...flags],
      env: { ...ofFront, ...env },
    })
  }

  private endpoint(name: string): Endpoint {
    return this.endpoints.get(name) as Endpoint
  }

  private next(path: string) {
    const open = [...this.endpoints].filter(([, endpoint]) => endpoint.open)
    const [to] = open[this.turn++ % open.length] ?? []
    return to === undefined ? undefined : { to, url: this.url(to) + path }
  }

  url(name: string): string {
    return `http://127.0.0.1:${this.endpoint(name).front}`
  }

  status(name: string): Promise<AgentStatus> {
    return askStatus(this.endpoint(name).agent)
  }

  async admit(name: string): Promise<void> {
    // At first, the agent doesn't listen yet.
    const answer = () => ask(this.endpoint(name).agent, '/frontz').catch(() => ({ status: 0 }))
    await until('a front that accepts clients', async () => (await answer()).status === 200)
    this.endpoint(name).open = true
  }

  shut(name: string): void {
    this.endpoint(name).open = false
  }

  async killAgent(agent: Pick<Replica, 'name' | 'pid' | 'signal'>, name = agent.name): Promise<number> {
    const pid = await frontPid(agent)
    agent.signal('SIGKILL')
    this.shut(name)
    await until('the end of the front after its agent', () => !lives(pid))
    return mono()
  }

  async answers(count: number, by?: string): Promise<void> {
    const from = mono()
    const answered = () =>
      this.client.calls.filter(
        ({ sentAt, answer }) =>
          sentAt >= from && answer !== null && (by ?? answer.replica) === answer.replica,
      ).length
    await until(`${count} answers from ${by ?? 'a replica'}`, () => answered() >= count)
  }

  async lateCalls(name: string, from: number): Promise<void> {
    const late = () => this.client.calls.slice(from).filter(({ to }) => to === name).length
    await until('calls to the ending pod', () => late() >= 5)
    this.shut(name)
  }

  async outcome() {
    await this.client.stop()
    const answered = this.client.calls.filter(({ failure }) => failure === null)
    const longestMs = Math.max(...answered.map((call) => call.endedAt - call.sentAt))
    return { failed: this.client.failed(), longestMs }
  }

  async frontNote(): Promise<string> {
    return (await this.annotations())['langflow-leader/front'] ?? ''
  }

  async annotations(): Promise<Readonly<Record<string, string>>> {
    const { stdout } = await this.kubectl('get', 'lease', LEASE, '-o', 'json')
    return JSON.parse(stdout).metadata.annotations ?? {}
  }

  switchOver(to = '*'): Promise<unknown> {
    return this.kubectl('annotate', 'lease', LEASE, `langflow-leader/switchover-to=${to}`)
  }
}

export async function frontPid({ pid }: Pick<Replica, 'pid'> | Pod['agent']): Promise<number> {
  const { stdout } = await run('pgrep', ['-P', String(pid), '-f', ' front$'])
  return Number(stdout)
}

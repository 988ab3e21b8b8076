import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { Client } from './client.ts'
import { freePort } from './free-port.ts'
import { ask, askStatus, FAST, type ReplicaOptions } from './replica.ts'
import { ApiServerScene } from './scene.ts'
import { until } from './wait.ts'

interface Answer {
  readonly replica: string
}

/** Replicas `a` and `b` with a front each, which are peers of each other. Each has its ports before it starts. */
export class PairedFronts extends ApiServerScene {
  readonly agents = new Map<string, number>()
  readonly fronts = new Map<string, number>()
  /** The ports at which the peers reach the agents. */
  peers: readonly number[] = []
  client: Client<Answer> | null = null
  private turn = 0

  /** Chooses the ports. */
  async choosePorts(): Promise<void> {
    for (const name of ['a', 'b']) {
      this.agents.set(name, await freePort())
      this.fronts.set(name, await freePort())
    }
    this.peers = [...this.agents.values()]
  }

  port = (name: string) => this.agents.get(name) as number

  protected override async prepare(name: string, { flags = [], env, ...more }: Partial<ReplicaOptions>) {
    const peers = this.peers.map((port) => `127.0.0.1:${port}`).join()
    return super.prepare(name, {
      ...more,
      flags: [...FAST, `--listen=127.0.0.1:${this.port(name)}`, `--peers=${peers}`, ...flags],
      env: {
        LEADER_TRAFFIC: 'front',
        LEADER_FRONT_LISTEN: `127.0.0.1:${this.fronts.get(name)}`,
        LEADER_STREAM_GRACE: '500ms',
        POD_NAME: name,
        POD_UID: name,
        POD_IP: '127.0.0.1',
        ...env,
      },
    })
  }

  /** Opens a client that goes to one front after the other, and never tries twice. */
  async openClient(): Promise<Client<Answer>> {
    const ports = [...this.fronts.values()]
    const target = () => {
      const port = ports[this.turn++ % ports.length]
      return { to: String(port), url: `http://127.0.0.1:${port}/slow=100` }
    }
    for (const port of this.agents.values())
      await until('a front', async () => (await ask(port, '/frontz')).status === 200)
    const read = (text: string) => JSON.parse(text) as Answer
    this.client = new Client<Answer>({ everyMs: 50, withinMs: 60_000, target, read })
    return this.client
  }

  status(name: string): Promise<AgentStatus> {
    return askStatus(this.port(name))
  }

  /** Ends the client before the replicas. */
  override async close(): Promise<void> {
    await this.client?.stop()
    await super.close()
  }
}

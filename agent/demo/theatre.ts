import type { Clock } from '../clock.ts'
import { FatalError } from '../exit.ts'
import { type EmbeddedLeaseApi, startEmbeddedLeaseApi } from '../lease/embedded/embedded-lease-api.ts'
import { Answers } from './answers.ts'
import { freePorts } from './free-ports.ts'
import { FrontDoor, REPLICA_HEADER } from './front-door.ts'
import { Gates, type Place } from './gates.ts'
import { Ground } from './ground.ts'
import { Journal } from './journal.ts'
import { Patience } from './patience.ts'
import type { ReplicaProcess } from './replica-process.ts'
import { Scene } from './scene.ts'
import { Setbacks } from './setbacks.ts'
import type { DemoOptions } from './settings.ts'
import type { Show } from './show.ts'
import { SteadyClient } from './steady-client.ts'
import type { Stage } from './takeover.ts'
import { createTroupe, LEASE, NAMES, NAMESPACE } from './troupe.ts'

/** A stand-in is up within a second; a busy machine may need longer. */
const STAND_IN_SERVES_WITHIN_MS = 60_000
/** As `--start-timeout`. */
const COMMAND_SERVES_WITHIN_MS = 600_000
/** What a planned handover takes at most by default, drain and stop, and then some. */
const HANDOVER_WITHIN_MS = 60_000

export interface TheatreParts {
  readonly options: DemoOptions
  readonly env: NodeJS.ProcessEnv
  readonly clock: Clock
  readonly show: Show
  readonly abort: AbortController
}

/** All that a demo needs, put together: the Lease API, three replicas, a front door and a client. */
export class Theatre {
  readonly scene: Scene
  readonly journal: Journal
  readonly stage: Stage
  readonly client: SteadyClient
  /** `null` where the workloads write beats. */
  readonly answers: Answers | null
  readonly ground: Ground
  readonly #api: EmbeddedLeaseApi
  readonly #door: FrontDoor
  readonly #gates: Gates
  readonly #troupe: ReadonlyMap<string, ReplicaProcess>

  private constructor(
    { options, env, clock, show, abort }: TheatreParts,
    found: { api: EmbeddedLeaseApi; door: FrontDoor; gates: Gates; places: readonly Place[] },
  ) {
    const { api, door, gates, places } = found
    this.#api = api
    this.#door = door
    this.#gates = gates
    this.ground = new Ground(NAMES, clock)
    this.scene = new Scene(NAMES, door.url, clock, (told) => show.told(told))
    const setbacks = new Setbacks()
    const failed = (sentence: string) => abort.abort(new FatalError(sentence))
    this.journal = new Journal(clock, (happening) => {
      this.scene.happened(happening)
      const hopeless = setbacks.hear(happening)
      if (hopeless !== null) failed(hopeless)
    })
    this.#troupe = createTroupe({
      options,
      env,
      ground: this.ground,
      kubeconfig: api.kubeconfig(undefined, NAMESPACE),
      places,
      clock,
      heard: (replica, line) => this.journal.hear(replica, line),
      failed,
    })
    const standIn = options.command === null
    this.client = new SteadyClient({
      host: door.host,
      port: door.port,
      path: standIn ? '/' : '/health',
      sender: ({ headers, body }) => (standIn ? JSON.parse(body).replica : headers[REPLICA_HEADER]),
      clock,
    })
    this.answers = standIn ? null : new Answers(places, clock)
    const patience = new Patience(clock, abort.signal, (what) => {
      this.scene.doing = `waiting for ${what}`
    })
    this.stage = {
      journal: this.journal,
      client: this.client,
      clock,
      replica: (name) => this.#troupe.get(name) as ReplicaProcess,
      agentIs: (name, agent) => this.scene.change(name, (view) => ({ ...view, agent })),
      until: (what, withinMs, look) => patience.until(what, withinMs, look),
      acquireWithinMs: 2 * options.leaseDurationMs + HANDOVER_WITHIN_MS,
      serveWithinMs: standIn ? STAND_IN_SERVES_WITHIN_MS : COMMAND_SERVES_WITHIN_MS,
    }
  }

  /** Rejects with a `FatalError` where something cannot be had; then nothing was started. */
  static async open(parts: TheatreParts): Promise<Theatre> {
    const places = await findPlaces()
    const gates = new Gates(places, parts.clock)
    const door = new FrontDoor(() => gates.current())
    await door.listen(parts.options.listen)
    // Made beforehand, so that the first start need not wait out a whole lease duration.
    const api = await startEmbeddedLeaseApi({ leases: [{ metadata: { name: LEASE, namespace: NAMESPACE } }] })
    try {
      return new Theatre(parts, { api, door, gates, places })
    } catch (error) {
      door.close()
      await api.close()
      throw error
    }
  }

  isOpen(name: string): boolean {
    return this.#gates.isOpen(name)
  }

  start(): void {
    for (const replica of this.#troupe.values()) replica.start()
    this.#gates.start()
    this.answers?.start()
  }

  /** Resolves once nothing of it lives; on disk nothing is left but the logs, where they are to stay. */
  async close(keepLogs: boolean): Promise<void> {
    this.scene.doing = 'clearing up'
    this.client.stop()
    this.answers?.stop()
    this.#gates.stop()
    this.#door.close()
    for (const replica of this.#troupe.values()) replica.dismiss()
    await this.ground.leave(keepLogs)
    await this.#api.close()
  }
}

async function findPlaces(): Promise<Place[]> {
  const ports = await freePorts(2 * NAMES.length)
  return NAMES.map((name, n) => ({ name, agentPort: ports[2 * n]!, port: ports[2 * n + 1]! }))
}

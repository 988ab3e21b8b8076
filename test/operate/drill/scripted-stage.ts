import type { KubeObject } from '../../../agent/kube/objects.ts'
import { SWITCHOVER_TO } from '../../../agent/lease/operation.ts'
import type { AgentStatus } from '../../../agent/observe/status.ts'
import {
  type Drilled,
  type DrillOptions,
  type DrillStage,
  drill,
  prepare,
} from '../../../agent/operate/drill/drill.ts'
import type { Hands } from '../../../agent/operate/drill/hands.ts'
import type { Service } from '../../../agent/operate/drill/service.ts'
import type { OperationError } from '../../../agent/operate/exit-codes.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'
import { identityOf, LEADER, ScriptedCluster, STANDBY } from '../scripted-cluster.ts'

/** As `deploy/base` makes it. */
export function podOf(name: string, restartCount = 0): KubeObject {
  const launch = [
    '/opt/langflow-leader/node',
    '--disable-sigusr1',
    '/opt/langflow-leader/langflow-leader.mjs',
  ]
  return {
    metadata: { name, uid: `uid-${name}`, resourceVersion: '1' },
    spec: {
      initContainers: [
        { name: 'install', args: ['install', '/opt/langflow-leader'] },
        { name: 'agent', args: ['agent'], env: [{ name: 'LEADER_PEERS', value: 'langflow-members:8090' }] },
      ],
      containers: [{ name: 'langflow', command: [...launch, 'launch', '--'], args: ['langflow', 'run'] }],
    },
    status: { initContainerStatuses: [{ name: 'agent', restartCount }], containerStatuses: [] },
  }
}

/** Three replicas of which the first leads, LangFlow for users, and hands that kill: on one virtual clock. */
export class ScriptedStage implements DrillStage {
  readonly clock = new VirtualClock()
  readonly cluster = new ScriptedCluster()
  readonly told: string[] = []
  readonly stored = new Set<number>()
  /** What users are answered. */
  problem: string | null = null
  /** Whether what is acknowledged is stored as well. */
  stores = true
  forgotten = 0
  readonly executed: string[] = []
  readonly deleted: string[] = []
  restarts = 0
  /** What running a command comes to. */
  execution: OperationError | null = null
  service: Service = {
    what: 'POST /run/echo',
    ask: async (number) => {
      if (this.problem === null && this.stores) this.stored.add(number)
      return this.problem
    },
    rows: {
      kept: async () => new Set(this.stored),
      forget: async () => {
        this.forgotten++
      },
    },
  }
  readonly hands: Hands = {
    pod: async (name) => podOf(name, this.restarts),
    remove: async ({ metadata }, rehearsal) => {
      if (!rehearsal) this.deleted.push(metadata.name)
    },
    execute: async (pod, container, [node = '', flag = '']) => {
      if (this.execution !== null) throw this.execution
      this.executed.push(`${pod} ${container} ${node} ${flag}`)
      return {
        exitCode: flag === '--version' ? 0 : null,
        stdout: flag === '--eval' ? 'killing 7\n' : '',
        stderr: '',
      }
    },
  }

  tell = (line: string): void => {
    this.told.push(line)
  }

  /** Another pod holds the Lease, and has yet to start LangFlow. */
  acquire(pod: string, epoch: number): void {
    this.cluster.note({ [SWITCHOVER_TO]: null })
    for (const { pod: other } of this.cluster.rows) if (other !== pod) this.cluster.show(other, STANDBY)
    this.cluster.write({ holderIdentity: identityOf(pod), leaseTransitions: epoch })
    this.cluster.show(pod, statusOf(epoch, 'closed'))
  }

  serve(pod: string, epoch: number): void {
    this.cluster.show(pod, statusOf(epoch, 'open'))
  }
}

function statusOf(epoch: number, gate: 'open' | 'closed'): AgentStatus {
  return { ...LEADER, lease: { ...LEADER.lease, epoch }, traffic: { ...LEADER.traffic, gate } }
}

/** A drill under way. */
export class Drilling {
  readonly stage: ScriptedStage
  readonly ctrlC = new AbortController()
  drilled: Drilled | undefined
  error: Error | undefined

  constructor(stage: ScriptedStage) {
    this.stage = stage
  }

  async begin(options: Partial<DrillOptions> = {}): Promise<this> {
    const { stage, ctrlC } = this
    const scenarios = options.scenarios ?? (['switchover'] as const)
    const prepared = await prepare(stage, scenarios)
    const all: DrillOptions = {
      scenarios,
      perSecond: 5,
      limits: { rtoMs: 30_000, rpoRows: 0 },
      timeoutMs: 60_000,
      ...options,
    }
    drill(stage, all, prepared, ctrlC.signal).then(
      (drilled) => {
        this.drilled = drilled
      },
      (error) => {
        this.error = error
      },
    )
    return this
  }

  /** What happens, and the time that passes after it. */
  async step(ms: number, happens: () => void = () => {}): Promise<void> {
    happens()
    await this.stage.clock.pass(ms)
  }
}

import { drill, type Report, type Stage } from '../../../agent/cli/drill/drill.ts'
import type { Service } from '../../../agent/cli/drill/langflow-service.ts'
import type { KubeObject } from '../../../agent/kube/kube-objects.ts'
import { SWITCHOVER_TO } from '../../../agent/lease/operator-annotations.ts'
import type { AgentStatus } from '../../../agent/status/agent-status.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'
import { identityOf, LEADER, ScriptedCluster, STANDBY } from '../scripted-cluster.ts'

/** Three replicas, of which the first leads, their pods, and a LangFlow for the prober, on one virtual clock. */
export class ScriptedStage implements Stage {
  readonly clock = new VirtualClock()
  readonly cluster = new ScriptedCluster()
  readonly printed: string[] = []
  readonly stored = new Set<number>()
  /** The problem of each request of the prober. `null`: it succeeds. */
  problem: string | null = null
  forgotten = 0
  /** The deleted pods, with their grace periods. */
  readonly deleted: [name: string, graceSeconds: number | undefined][] = []
  service: Service = {
    what: 'POST /run/echo',
    ask: async (number) => {
      if (this.problem === null) this.stored.add(number)
      return this.problem
    },
    messages: {
      kept: async () => new Set(this.stored),
      forget: async () => {
        this.forgotten++
      },
    },
  }
  readonly objects: Stage['objects'] = {
    get: async (_, name): Promise<KubeObject> => ({ metadata: { name, uid: 'u', resourceVersion: '1' } }),
    delete: async (_, { metadata }, __, graceSeconds) => {
      this.deleted.push([metadata.name, graceSeconds])
    },
  }

  print = (line: string): void => {
    this.printed.push(line)
  }

  /** Lets another pod acquire the Lease. It has not started LangFlow yet. */
  acquire(pod: string, epoch: number): void {
    this.cluster.note({ [SWITCHOVER_TO]: null })
    for (const { pod: other } of this.cluster.rows) if (other !== pod) this.cluster.show(other, STANDBY)
    this.cluster.write({ holderIdentity: identityOf(pod), leaseTransitions: epoch })
    this.cluster.show(pod, statusOf(epoch, 'closed'))
  }

  serve(pod: string, epoch: number): void {
    this.cluster.show(pod, statusOf(epoch, 'open'))
    this.cluster.remember({ epoch })
  }
}

function statusOf(epoch: number, gate: 'open' | 'closed'): AgentStatus {
  return { ...LEADER, lease: { ...LEADER.lease, epoch }, traffic: { ...LEADER.traffic, gate } }
}

export type Options = Partial<Parameters<typeof drill>[1]>

/** A running drill. */
export class Drilling {
  readonly stage: ScriptedStage
  readonly ctrlC = new AbortController()
  report: Report | undefined
  error: Error | undefined

  constructor(stage: ScriptedStage, options: Options = {}) {
    this.stage = stage
    const all = { scenario: 'switchover', rtoMs: 30_000, timeoutMs: 60_000, ...options } as const
    drill(stage, all, this.ctrlC.signal).then(
      (report) => {
        this.report = report
      },
      (error) => {
        this.error = error
      },
    )
  }

  /** Runs an event, then advances the clock. */
  async step(ms: number, happens: () => void = () => {}): Promise<void> {
    happens()
    await this.stage.clock.pass(ms)
  }
}

import { deployRights } from '../e2e/deploy-rights.ts'
import { Replica } from '../support/replica.ts'
import type { Candidate, Side } from './candidate.ts'
import type { Ground } from './ground.ts'

export const LEASE = 'langflow-leader-lock'
/** 15 s, 10 s, 2 s. */
export const DEFAULT_TIMINGS: readonly string[] = []

/** `run` from the bundle, with the stand-in workload and the rights of deploy/base. */
export class OurSide implements Side {
  readonly name = 'langflow-leader'
  readonly lease = LEASE
  /** What workloads wrote: one file a Lease. */
  readonly beats: string[] = []
  readonly #ground: Ground

  constructor(ground: Ground) {
    this.#ground = ground
  }

  async enter(namespace: string): Promise<(identity: string) => Promise<Candidate>> {
    const { plane, main, env } = this.#ground
    const kubeconfig = await deployRights(plane, namespace)
    const beats = this.newBeats()
    return async (identity) => {
      const options = { identity, kubeconfig, namespace, beats, main, env, flags: DEFAULT_TIMINGS }
      return new OurCandidate(this.#ground.keep(await Replica.start(options)))
    }
  }

  /** A file for the workloads of one more Lease. */
  newBeats(): string {
    const file = this.#ground.path('beats')
    this.beats.push(file)
    return file
  }
}

class OurCandidate implements Candidate {
  readonly process: Replica

  constructor(replica: Replica) {
    this.process = replica
  }

  get identity(): string {
    return this.process.name
  }

  async ready(): Promise<void> {
    await this.process.find('ready', ({ event }) => event === 'serving' || event === 'standby_ready')
  }

  async leads(): Promise<void> {
    await this.process.event('serving')
  }

  async released(): Promise<number> {
    return Date.parse((await this.process.event('released')).time)
  }

  async acquired(): Promise<number> {
    return Date.parse((await this.process.event('acquired')).time)
  }

  kill(): void {
    const { pid } = this.process
    for (const one of [pid, this.process.launcherPid(), this.process.workloadPid()])
      process.kill(one, 'SIGKILL')
  }
}

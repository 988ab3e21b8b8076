import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import { formatDuration } from '../config/values.ts'
import type { Place } from './gates.ts'
import type { Ground } from './ground.ts'
import { langflowEnvironment, withoutSettings } from './langflow-environment.ts'
import { ReplicaProcess } from './replica-process.ts'
import { selfCommand } from './self.ts'
import type { DemoOptions } from './settings.ts'

export const LEASE = 'langflow-leader-lock'
export const NAMESPACE = 'default'
export const NAMES = ['replica-a', 'replica-b', 'replica-c']

export interface TroupeOptions {
  readonly options: DemoOptions
  readonly env: NodeJS.ProcessEnv
  readonly ground: Ground
  /** What leads to the API, as text. */
  readonly kubeconfig: string
  readonly places: readonly Place[]
  readonly clock: Clock
  readonly heard: (replica: string, line: string) => void
  readonly failed: (sentence: string) => void
}

/** Where the stand-ins write their beats: with the logs, since both are evidence. */
export function beatsDir(ground: Ground): string {
  return join(ground.logs, 'beats')
}

/** The replicas, ready to be started. */
export function createTroupe(parts: TroupeOptions): Map<string, ReplicaProcess> {
  const { ground, options, env, clock } = parts
  mkdirSync(beatsDir(ground))
  const kubeconfig = join(ground.dir, 'kubeconfig')
  writeFileSync(kubeconfig, parts.kubeconfig)
  const flags = [
    `--kubeconfig=${kubeconfig}`,
    `--lease-namespace=${NAMESPACE}`,
    `--lease-name=${LEASE}`,
    `--lease-duration=${formatDuration(options.leaseDurationMs)}`,
    `--renew-deadline=${formatDuration(options.renewDeadlineMs)}`,
    `--retry-period=${formatDuration(options.retryPeriodMs)}`,
    `--kill-margin=${formatDuration(options.killMarginMs)}`,
  ]
  const replicas = parts.places.map((place) => {
    const { name } = place
    const home = join(ground.dir, name)
    mkdirSync(home)
    return new ReplicaProcess({
      place,
      mark: ground.mark(name),
      dir: ground.dir,
      logFile: join(ground.logs, `${name}.log`),
      flags,
      command: options.command ?? selfCommand('demo-workload', String(place.port), beatsDir(ground)),
      env:
        options.command === null
          ? withoutSettings(env)
          : langflowEnvironment(withoutSettings(env), place, home),
      clock,
      heard: (line) => parts.heard(name, line),
      failed: parts.failed,
    })
  })
  return new Map(replicas.map((replica) => [replica.name, replica]))
}

import { overlapMs } from '../harness/judge.ts'
import { mono, until } from '../harness/wait.ts'
import type { Installation } from './installation.ts'
import { isReady, type Pod } from './objects.ts'

/** What became of one change of the pod template. */
export interface Rollout {
  /** Milliseconds until every pod was a new one; `null`: not in time. */
  readonly allNewMs: number | null
  /** Terms that began meanwhile. */
  readonly handovers: number
  /** Milliseconds until `kubectl rollout status` ended with success; `null`: it did not. */
  readonly statusMs: number | null
  /** The longest time without an answer through the Service, in milliseconds. */
  readonly awayMs: number
  readonly failed: number
  readonly calls: number
  /** Milliseconds during which two acted. */
  readonly overlapMs: number
  readonly violations: readonly string[]
}

const ALL_NEW_MS = 120_000
/** How much longer `kubectl rollout status` is given once nothing changes any more. */
const STATUS_MS = 15_000

/**
 * Changes the pod template of a settled installation, and resolves once all is settled again or cannot become so.
 * `withinMs`: how long all new pods may take.
 */
export async function rollOut(one: Installation, replicas: number, withinMs = ALL_NEW_MS): Promise<Rollout> {
  await one.available(one.traffic === 'readiness' ? 1 : replicas)
  const { epoch } = one.lease
  const beatsBefore = one.collector.beats.length
  const giveUp = new AbortController()
  const from = mono()
  const change = await one.changeTemplate()
  const status = one
    .kubectlUntil(giveUp.signal, 'rollout', 'status', one.workload, '--timeout=10m')
    .then(() => mono() - from)
    .catch(() => null)
  const isNew = (pod: Pod) => pod.metadata.annotations?.['test/change'] === change
  const allNewMs = await until(
    'every pod is a new one',
    async () => {
      const pods = await one.pods().catch(() => [])
      return pods.length === replicas && pods.every((pod) => isNew(pod) && !pod.metadata.deletionTimestamp)
    },
    withinMs,
  )
    .then(() => mono() - from)
    .catch(() => null)
  // Where it is stuck, this is what it is stuck in.
  await one.settled(replicas, allNewMs === null ? 1_000 : withinMs).catch(() => {})
  const ended = await Promise.race([status, later(STATUS_MS)])
  giveUp.abort()
  const statusMs = ended === 'too long' ? null : ended
  const tally = one.client.since(from)
  return {
    allNewMs,
    handovers: one.lease.epoch - epoch,
    statusMs,
    awayMs: tally.longestSilenceMs,
    failed: tally.failed,
    calls: tally.calls,
    overlapMs: overlapMs(one.collector.beats.slice(beatsBefore)),
    violations: one.violations(),
  }
}

/** How many pods are Ready, and of which revision; for people. */
export async function stateInWords(one: Installation): Promise<string> {
  const pods = await one.pods()
  return pods
    .map((pod) => `${pod.metadata.annotations?.['test/change'] ?? 'old'}${isReady(pod) ? ' Ready' : ''}`)
    .join(', ')
}

function later(ms: number): Promise<'too long'> {
  return new Promise((resolve) => setTimeout(() => resolve('too long'), ms).unref())
}

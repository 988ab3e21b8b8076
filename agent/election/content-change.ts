import { leadsByConsent } from './consent.ts'
import type { CandidateConfig, Held, MonoMs, StepDownReason } from './state.ts'

/** A set of files may arrive one by one. Several replicas that have the same set show that it is complete. */
const QUIET_MS = 2_000
/** The same if no other replica has it. */
const SETTLES_MS = 10_000
/** The kubelet updates a volume within 90 s or so, and a warm standby is prepared within 40 s. */
const WAITS_MS = 150_000
/** Lease durations between two starts for changed content, so that content that keeps changing is no outage. */
const APART_LEASES = 2

/** The step-down for changed files, and its time. */
export function contentChange(
  config: CandidateConfig,
  state: Held,
): (StepDownReason & { dueAt: MonoMs }) | null {
  const { term, workload, paused, successor } = state
  const { content, well } = workload
  if (content === null || config.onChange === 'ignore' || paused || !well) return null
  if (term.doubt || leadsByConsent(term) || term.stepDown !== null) return null
  const { digest, since, running, startedAt, problem } = content
  if (problem !== null || running === null || running === digest) return null
  const standby = config.onChange === 'handover' ? successor.content : 'none'
  const settlesMs = { ready: QUIET_MS, awaited: WAITS_MS, none: SETTLES_MS }[standby]
  // A new leader has to ask the others first.
  const settled = Math.max(since, term.startedAt) + settlesMs
  const dueAt = Math.max(settled, startedAt + APART_LEASES * config.leaseDurationMs)
  const reason = 'the files that LangFlow was started from have changed'
  return { code: 'content_changed', reason, inPlace: standby !== 'ready', dueAt }
}

import type { Check } from '../observe/status.ts'

/** What the gate looks at. */
export interface GateFacts {
  readonly leads: boolean
  /** Whoever leads, for people. */
  readonly standing: string
  readonly doubt: boolean
  /** What keeps it from taking the Lease over; `null`: nothing, or it has it. */
  readonly inability: string | null
  /** Why it is kept closed; `null`: it is not. */
  readonly closed: string | null
  readonly launcher: 'connected' | 'missing' | 'silent'
  readonly workload: string
  readonly healthy: boolean
  readonly lastProbe: string | null
}

/** The readiness gate as its conditions, in the order in which `/readyz?verbose` prints them; open when all hold. */
export function gateChecks(facts: GateFacts): Check[] {
  const { leads, doubt, inability, closed, launcher, workload, healthy, lastProbe } = facts
  return [
    { name: 'leadership', ok: leads, detail: facts.standing },
    {
      name: 'lease',
      ok: !doubt && inability === null,
      detail: doubt
        ? 'no renewal was acknowledged by the renew deadline'
        : (inability ?? (leads ? 'renewed in time' : 'seen')),
    },
    { name: 'launcher', ok: launcher === 'connected', detail: `the launcher is ${launcher}` },
    {
      name: 'workload',
      ok: workload === 'running' && healthy,
      detail: workload === 'running' ? `running; ${lastProbe ?? 'not asked yet'}` : workload,
    },
    {
      name: 'gate',
      ok: closed === null,
      detail: closed === null ? 'open' : `closed: ${closed}`,
    },
  ]
}

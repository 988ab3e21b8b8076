/** How much is measured. */
export interface Sizes {
  /** Of the peer, spread evenly among ours. */
  readonly handovers: { readonly ours: number; readonly peer: number }
  /** Each Lease has two candidates; all Leases run at once. */
  readonly crashes: { readonly ours: Crashes; readonly peer: Crashes }
  readonly steady: { readonly settleMs: number; readonly windowMs: number; readonly sampleMs: number }
  readonly starts: number
  /** Of a real LangFlow, in each standby mode. */
  readonly standbys: number
  /** The bench gives up after this many minutes. */
  readonly boundMinutes: number
}

export interface Crashes {
  readonly leases: number
  readonly rounds: number
}

export const FULL: Sizes = {
  handovers: { ours: 100, peer: 20 },
  crashes: { ours: { leases: 4, rounds: 5 }, peer: { leases: 2, rounds: 4 } },
  steady: { settleMs: 60_000, windowMs: 60_000, sampleMs: 5_000 },
  starts: 20,
  standbys: 5,
  boundMinutes: 40,
}

/** Shows that everything works; its numbers mean little. */
export const QUICK: Sizes = {
  handovers: { ours: 4, peer: 2 },
  crashes: { ours: { leases: 2, rounds: 1 }, peer: { leases: 1, rounds: 1 } },
  steady: { settleMs: 4_000, windowMs: 10_000, sampleMs: 2_000 },
  starts: 3,
  standbys: 1,
  boundMinutes: 5,
}

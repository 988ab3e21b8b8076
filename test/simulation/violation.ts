export type Invariant =
  | 'at most one acts' // No two workloads execute at one instant.
  | 'rule 1' // No workload executes after the end of the grant that its last acknowledged write earned.
  | 'doubt' // With --on-doubt=freeze, no workload executes after the renew deadline.
  | 'rule 3' // No agent sends a release while a process of its workload exists.
  | 'rule 4' // No replica overwrites a Lease that another one holds and renews.
  | 'rule 5' // A workload stops as soon as its agent has received another holder.
  | 'rules 6, 7' // A candidate waits until a held, cleared or deleted Lease has expired.
  | 'rule 8' // No replica campaigns while another process writes in its name.
  | 'rule 9' // An agent ends only after a signal, and then with exit code 0.
  | 'rule 11' // An undisturbed prepared candidate takes the Lease in time, before unprepared ones, and serves in time.
  | 'pause' // No takeover and no planned restart starts while takeovers are paused.
  | 'quiet moment' // No leader waits for one longer than the quiet timeout.
  | 'content' // No release names a replica with files that the leader has seen replaced.
  | 'epochs grow' // Each start has a higher epoch than all earlier ones, except for a restart in place.
  | 'versions' // No LangFlow starts after a newer one.
  | 'revisions' // No revision is proven before it has served, and a failed one leaves the Lease to others.
  | 'availability' // No workload is frozen while its Lease is renewed, and none starts without a reason.
  | 'liveness' // After the last fault, exactly one replica serves in time, and continues.

export class Violation extends Error {
  readonly invariant: Invariant

  constructor(invariant: Invariant, message: string) {
    super(`${invariant}: ${message}`)
    this.name = 'Violation'
    this.invariant = invariant
  }
}

export type Invariant =
  | 'one acts' // no two workloads execute at one instant
  | 'rule 1' // nothing executes past the deadline that the last acknowledged write earned
  | 'doubt' // nothing executes past the renew deadline of the last acknowledged write, in `freeze`
  | 'rule 3' // nothing is released while something of the workload lives
  | 'rule 4' // nobody writes over another holder
  | 'rule 5' // seeing another holder stops the workload at once
  | 'rules 6, 7' // a held, cleared or deleted Lease is waited out
  | 'rule 8' // nobody goes on where another one writes in its name
  | 'rule 9' // an agent ends only when it is told to, and then with exit code 0
  | 'rule 11' // a prepared candidate that nothing disturbs leads in time, first, and serves
  | 'pause' // nobody takes over what an operator paused
  | 'epochs grow'
  | 'versions' // no LangFlow is started once a newer one was
  | 'revisions' // none counts as proven that has not served, and one that failed leaves the Lease to others
  | 'availability' // nothing is frozen while its Lease is renewed, or hands over for no reason
  | 'liveness' // after the last fault heals exactly one serves in time, and goes on serving

export class Violation extends Error {
  readonly invariant: Invariant

  constructor(invariant: Invariant, message: string) {
    super(`${invariant}: ${message}`)
    this.name = 'Violation'
    this.invariant = invariant
  }
}

/** What a follower keeps ready. */
export type StandbyMode = 'cold' | 'prewarmed'

export interface StandbyView {
  /** What it would start from now: `cold` also where something warmer could not be prepared. */
  readonly mode: StandbyMode
  /** `none`: nothing is kept, since the mode needs nothing, or since the workload runs. */
  readonly state: 'none' | 'preparing' | 'ready'
  /** Why it is colder than it was asked to be, in one sentence; `null`: it is not. */
  readonly reason: string | null
  /** What a ready one holds (PSS); `null`: nothing, or it cannot be told. */
  readonly memoryBytes: number | null
}

export const COLD: StandbyView = { mode: 'cold', state: 'none', reason: null, memoryBytes: null }

/** The launcher's standby: kept only while the workload does not run, and used up by its start. */
export interface Standby {
  readonly view: StandbyView
  /** Begins to prepare one, unless there is one already. */
  prepare(): void
  /** Resolves once it is ready, or never will be. */
  settled(): Promise<void>
}

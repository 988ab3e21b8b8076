/** What a follower keeps ready: nothing, or a LangFlow that waits for its grant. */
export type StandbyMode = 'cold' | 'warm'

export interface StandbyView {
  /** What it would start from now: `cold` also where something warmer could not be prepared. */
  readonly mode: StandbyMode
  /** `none`: nothing is kept, since the mode needs nothing, or since the workload runs and has no spare. */
  readonly state: 'none' | 'preparing' | 'ready'
  /** Why it is colder than it was asked to be, or starts slower than it could, in one sentence; `null`: neither. */
  readonly reason: string | null
  /** What a ready one holds (PSS); `null`: nothing, or it cannot be told. */
  readonly memoryBytes: number | null
}

export const COLD: StandbyView = { mode: 'cold', state: 'none', reason: null, memoryBytes: null }

/** The launcher's standby: kept while the workload does not run, or beside it as its spare, and used up by its start. */
export interface Standby {
  readonly view: StandbyView
  /** Begins to prepare one, unless there is one already. */
  prepare(afterMs?: number): void
  /** SIGKILL to what is kept, until it is to be prepared again. */
  discard(): void
  /** The workload is about to start: nothing more is prepared. Resolves once it is ready, or never will be. */
  use(): Promise<void>
}

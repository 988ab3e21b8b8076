/** One live process of the workload. */
export interface LiveProcess {
  readonly pid: number
  /** `starttime` of /proc/PID/stat: with the pid it names a process for good. */
  readonly startTime: string
  /** State letter of /proc/PID/stat, e.g. R, S, T (stopped). Zombies are never listed. */
  readonly state: string
  readonly comm: string
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Nobody reaps what lives on, or will be killed: tini, which would have, was killed itself. */
  readonly unreaped?: true
}

/**
 * The workload as a set of processes: the direct child and everything that descends from it, wherever it went.
 * Nothing outside the set is ever signalled. Methods throw, or reject, where it cannot be told what lives; then nothing
 * may be taken for stopped.
 */
export interface ProcessTree {
  /**
   * Starts the command in a session of its own, its output passed through. Rejects with one sentence where the
   * command cannot be started. `exited` is called once, when its first process has ended; others may live on.
   */
  start(
    command: readonly string[],
    env: NodeJS.ProcessEnv,
    exited: (exit: Exit) => void,
  ): Promise<{ pid: number }>
  /** Every live process of the set, now. */
  alive(): LiveProcess[]
  /** SIGTERM to the process group of the first process (and SIGCONT, so that a stopped one can act on it). */
  terminate(): void
  /**
   * SIGSTOP until a scan finds nothing that is not stopped. Returns how many are stopped by then, and how many were awake
   * when it began: once they are frozen, whoever is awake was thawed by another hand.
   */
  freeze(): { stopped: number; awake: number }
  /** SIGCONT to what `freeze` stopped. */
  thaw(): void
  /** SIGKILL until a scan finds nothing alive, for at most `withinMs`. Returns what still lives. */
  kill(withinMs: number): Promise<LiveProcess[]>
}

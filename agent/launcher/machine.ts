import type { Clock } from '../clock.ts'
import type { Grant } from '../link/messages.ts'
import type { Standby } from '../link/standby.ts'
import type { ProcessTree } from '../processes/process-tree.ts'
import type { ServingProcesses } from './serving-processes.ts'

/** What the launcher needs of the machine; a seam for the simulation. */
export interface LauncherMachine {
  readonly clock: Clock
  /** Made anew for each start. */
  tree(): ProcessTree
  /** `null` where the port is free, otherwise one sentence that says who holds it. */
  portHolder(port: number): Promise<string | null>
  /** Watches who serves the port, beginning with the start of the workload's first process. */
  serving(port: number, child: number): Pick<ServingProcesses, 'check' | 'finish' | 'cutOff' | 'close'>
  /** What the workload is started from; `null`: from nothing. */
  standby(): Standby | null
  /** The same, where one is to be kept beside a workload that serves. */
  spare(): Standby | null
  /** The workload's environment under a grant. */
  environment(grant: Grant): NodeJS.ProcessEnv
}

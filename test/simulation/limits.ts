/**
 * The documented limits: cases in which a workload acts or a candidate takes the Lease too early, and no program beside the
 * workload can prevent it. The summary counts them. Each limit excuses only the check that names it.
 */
export const LIMITS = {
  'launcher frozen':
    'In a pod, only the launcher can end the workload. A process outside its container has frozen the launcher, and a second fault takes the Lease from the replica. The workload continues until the launcher thaws or the kubelet’s liveness probe ends the container.',
  'launcher and agent frozen':
    'In `run`, the agent kills the workload if the launcher doesn’t answer, but not while the agent itself is frozen or dead.',
  'launcher frozen after a wake-up':
    'In `run`, the agent of a machine that was suspended finds out only at its next renewal that it has lost the Lease. Until then it doesn’t kill the workload in place of a frozen launcher.',
  'machine woke up':
    'When a suspended machine wakes up, the workload continues until the launcher compares its clocks, which it does every 100 ms.',
  'release faked':
    'A person wrote all the fields that a holder writes to release the Lease. Candidates accept it as a release. The holder stops when its agent receives the next holder.',
  'duration shortened':
    'A person shortened the lease duration. A candidate that has read only the shorter one takes the Lease before the holder’s own deadline.',
  'holder unseen':
    'A candidate can’t wait for the end of a term that it has never read: the Lease was created and deleted, or deleted and recreated, between two of its reads.',
  'creation in flight':
    'A creation has no version to compare. If it was sent before another candidate’s Lease was created and deleted again, it may succeed afterwards.',
  'epoch lost':
    'The Lease stores the epoch. After it was deleted, emptied or set to an impossible value, a candidate that has never read the last epoch counts from an older one.',
  'version lost':
    'The Lease stores the LangFlow version that has led. After a person deleted the Lease or the version, an older LangFlow may lead.',
  'no clock shows a pause':
    'The machine and all its clocks stood still. The workload continues for the rest of its grant or until its agent receives the next holder, whichever comes first. Until then its agent acts on old facts.',
} as const

export type Limit = keyof typeof LIMITS

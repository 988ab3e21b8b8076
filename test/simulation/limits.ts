/**
 * The documented limits: where something acts although it should not, or a fault is left out, for a reason that no
 * program beside the workload can mend. Each is counted, and excuses nothing but the one check it is named in.
 */
export const LIMITS = {
  'launcher stands still':
    'In a pod only the launcher can end the workload, and nothing in its container can freeze it. While somebody outside does, and a second fault of that replica takes the Lease away, the workload goes on until the launcher runs again or the kubelet’s liveness probe ends the container.',
  'launcher and agent stand still':
    'In `run` the agent kills without a launcher that does not answer, but not while it is frozen or dead itself.',
  'launcher stands still on a machine that woke up':
    'In `run`, after a sleep of the machine, the agent finds out at its next renewal that its Lease is gone, and only then kills without a frozen launcher.',
  'machine woke up':
    'What ran when a machine fell asleep runs again when it wakes up, until the launcher has compared its clocks: it does so each 100 ms.',
  'release faked':
    'A person who writes into the Lease what its holder writes to release it, down to who released it, is believed; the holder stops once it is shown the next one.',
  'duration shortened':
    'A candidate that was shown only the duration which a person had shortened waits for that, and takes time away that the holder counts on.',
  'holder unseen':
    'A candidate cannot wait out a holder that it was never shown: one of a Lease that was made and deleted, or deleted and made again, between two of its looks.',
  'creation under way':
    'A creation has no version to compare with: one that was sent before the Lease came and was deleted again may succeed afterwards.',
  'epoch forgotten':
    'Epochs live in the Lease: where it was deleted or emptied, a candidate that was never shown the last one counts from what it knows.',
  'version forgotten':
    'Which LangFlow has led is written in the Lease: where a person deleted that, or what it says, an older one may lead.',
  'no clock shows a pause':
    'What stood still together with all its clocks goes on for what was left of its grant, or until its agent is shown the next holder, whichever comes first; and its agent takes what it knew before for what is.',
} as const

export type Limit = keyof typeof LIMITS

/** One case of the fault table: the fault, what must hold, and the behaviour of client-go if it was measured. */
interface FaultCase {
  readonly done?: string
  readonly must: string
  readonly clientGo?: string
  readonly wakesUp?: boolean
}

const CRASH = 'next holder 17.6 s (median), 19.7 s at most'
const CUT = 'two leaders for 2.5-6.7 s in 50 of 50 black-holed links (ReleaseOnCancel)'
const LATE = 'leads for 16.9-21.9 s on a 15 s Lease'
const FOREIGN = 'releases the Lease of another holder (HEAD): two leaders for 11.2 s'
const KILLS = 'kills at 10 s'
const SLOW = 'next holder 0.9 s after the release (median), 2.7 s at most'

const TABLE = {
  T1: {
    'the link is cut during a stop, and heals after a takeover': {
      done: 'A request holds up the drain. The link holds the next renewal until another replica leads.',
      must: 'The old leader never clears the new holder.',
      clientGo: FOREIGN,
    },
  },
  T2: {
    'the Lease is edited to name another live holder': {
      done: 'Three times.',
      must: 'LangFlow dead within 250 ms. No replica takes the Lease for a lease duration.',
    },
  },
  T3: {
    'a renewal commits and its reply is lost': {
      must: 'Deadlines count from the last acknowledged renewal.',
    },
    'a renewal’s reply is late, and no later one arrives': {
      done: '4 s late.',
      must: 'Deadlines count from the send.',
      clientGo: LATE,
    },
  },
  T4: {
    'the API server hangs for 12 s': {
      must: 'Frozen and thawed: same process and epoch. No other acts.',
      clientGo: KILLS,
    },
    'the API server hangs for 60 s': {
      must: 'Dead within 14 s. Afterwards exactly one serves.',
      clientGo: KILLS,
    },
  },
  T5: {
    'the link is cut during a stop, and stays cut': {
      done: 'LangFlow ignores SIGTERM.',
      must: 'No release. The Lease expires.',
      clientGo: CUT,
    },
  },
  T6: {
    'the agent is killed and restarts': { must: 'Undisturbed.' },
    'the agent is killed and does not restart': { must: 'Frozen within 10 s, dead within 14 s.' },
    'the agent is frozen': { done: 'For 20 s.', must: 'As for a killed agent. Then it follows.' },
    'the launcher is killed': {
      done: 'The kernel ends its container.',
      must: 'Released once no process lives.',
    },
    'the launcher is frozen': {
      done: 'The liveness probe fails after 15 s. SIGTERM, and SIGKILL 5 s later.',
      must: 'No release before the container is gone.',
    },
    'the socket is removed': {
      done: 'Then the container restarts.',
      must: 'Undisturbed. The agent makes the socket again.',
    },
    'the agent of `run` is killed': { must: 'The launcher, its child, ends LangFlow.' },
    'the whole replica is killed': {
      done: 'At one instant.',
      must: 'Next holder within 15.3 s.',
      clientGo: CRASH,
    },
  },
  T7: {
    'renewals succeed, and their replies are lost': {
      done: 'Three times.',
      must: 'The leader recognises its own write.',
    },
    'a renewal conflicts, but no other replica leads': {
      done: '409, three times.',
      must: 'The leader reads the Lease and continues.',
    },
    'the right to the Lease is missing for a while': {
      done: '403, for 6 s.',
      must: 'The leader continues, and reports the missing right.',
    },
    'the API server answers 429': { done: 'To every write, for 4 s.', must: 'The leader continues.' },
    'the API server answers 5xx': { done: '500, 503 and 504, for 4 s each.', must: 'The leader continues.' },
    'watches are truncated': {
      done: 'Five ends in mid-stream, then five resets.',
      must: 'The follower watches again, and follows the next release immediately.',
    },
    'the watch history is compacted': {
      done: 'The follower’s watch gets 410.',
      must: 'As for a truncated watch.',
    },
  },
  T8: {
    'LangFlow ignores SIGTERM and leaves daemons': {
      done: 'A daemon in another session ignores it too.',
      must: 'Both dead before the release.',
    },
    'LangFlow’s parent is killed': {
      done: 'Master and worker survive.',
      must: 'Detected within 1 s. All dead before the release.',
    },
    'LangFlow’s master is killed': { done: 'The worker survives and answers.', must: 'As for the parent.' },
    'LangFlow’s worker is killed': { must: 'As for the parent.' },
  },
  T9: {
    'the Lease is deleted while held': {
      done: 'A candidate has just seen it once.',
      must: 'The holder creates it again. No other takes it.',
    },
    'the Lease is deleted while its holder is cut off': {
      done: 'A candidate starts.',
      must: 'Not taken before the old LangFlow is dead.',
    },
  },
  T10: {
    'a second agent starts with the same identity': {
      must: 'It refuses, exit code 1. The leader continues.',
    },
  },
  T11: {
    'the leader’s wall clock jumps by an hour': {
      done: 'Back and ahead, 18 s each.',
      must: 'Undisturbed, no pause above 500 ms.',
    },
    'the follower’s wall clock jumps by an hour': {
      done: 'Ahead and back, 18 s each.',
      must: 'It does not take the Lease.',
    },
    'the machine is suspended for 30 s': {
      done: 'Every process of the leader’s pod is stopped.',
      must: 'Killed at the first check of the clocks (every 100 ms).',
      wakesUp: true,
    },
    'the boot clock runs ahead of the monotonic clock': { done: 'By 30 s.', must: 'As for a suspension.' },
  },
  T12: {
    'the agent’s event loop is blocked for 20 s': {
      must: 'The launcher’s deadman fires in time. Then the agent follows.',
    },
  },
  T13: {
    'the token expires': { done: '401. The file already holds a new token.', must: 'Undisturbed.' },
    'the certificate authority changes': {
      done: 'kube-apiserver restarts. The file holds the new authority.',
      must: 'Undisturbed.',
    },
  },
  T14: {
    'SIGTERM without an API server': { must: 'Exit code 0.' },
    'SIGTERM while following': { must: 'Exit code 0. The leader continues.' },
    'SIGTERM while LangFlow starts': { must: 'Clean handover, exit code 0.' },
    'SIGTERM while serving': { must: 'Clean handover, exit code 0.', clientGo: SLOW },
    'SIGTERM while in doubt': {
      done: 'LangFlow is frozen.',
      must: 'It never executes again. No release. Exit code 0.',
    },
    'SIGTERM while draining': { done: 'A second SIGTERM.', must: 'Released within 1.5 s. Exit code 0.' },
    'SIGTERM while stopping': {
      done: 'A second SIGTERM, which LangFlow ignores.',
      must: 'Clean handover, exit code 0.',
    },
    'SIGTERM while cooling down': { done: 'After a failure of LangFlow.', must: 'Exit code 0.' },
  },
  T15: {
    'the port is taken': { done: 'By another process.', must: 'A clear error. The other replica serves.' },
    'LangFlow exits immediately, again and again': {
      done: 'Seven times (`test/election/transition.test.ts` plays 20). Lease 2 s, retry period 100 ms.',
      must: 'Each pause is twice the one before. The other replica serves.',
    },
  },
  T16: {
    'the follower’s API server loses power before a handover to a cold standby': {
      done: 'The follower’s connections, and the next one, carry nothing more, not even an end.',
      must: 'Next holder within 6 s of the release. Before, no request beside the watch.',
    },
    'the follower’s API server loses power before a crash, with a cold standby': {
      done: 'The follower misses the last renewal.',
      must: 'Next holder within 20.5 s.',
    },
    'the leader’s API server loses power': {
      must: 'The leader renews over another connection: undisturbed.',
    },
  },
  T17: {
    'a replica of a newer revision cannot lead': {
      done: 'A peer starts with a wrong token, no rights, rights to read only, no egress, or another namespace.',
      must: 'The leader never makes way. `/readyz?exclude=leadership` is 503, with the reason.',
    },
  },
  T18: {
    'a handover, with one prepared standby and one that hangs': {
      done: 'The prepared one sees everything 300 ms late.',
      must: 'The prepared one leads.',
    },
    'a crash, with one prepared standby and one that hangs': {
      done: 'The same delay.',
      must: 'The prepared one leads, in time.',
    },
  },
  T19: {
    'a request is held open during a handover': {
      must: 'Released within 6.5 s (drain timeout + 1.5 s). Clean handover, exit code 0.',
    },
    'an SSE stream is held open during a handover': { must: 'As for a request.' },
    'a websocket is held open during a handover': { must: 'As for a request.' },
    'an idle connection is held open during a handover': { must: 'As for a request, within 3.5 s.' },
    'connections are held open at a front during a handover': {
      done: 'With `--traffic=front --quiet-timeout=3s`: a request without an end, a websocket without messages, an idle connection.',
      must: 'Released within 9.5 s (quiet timeout + drain timeout + 1.5 s). Without the request within 1.5 s.',
    },
  },
  T20: {
    'a flow attacks its launcher': {
      done: 'Every signal to each thread, SIGUSR1’s debugger, ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, /proc.',
      must: 'Every attempt refused, undisturbed. Then a clean handover.',
    },
    'a flow kills tini': { must: 'All dead before the release. Another serves. The container ends.' },
  },
  T21: {
    'each container has its own uptime': {
      done: '/proc/uptime counts from the container’s start (lxcfs, sysbox), or is a day ahead.',
      must: 'Grants hold: undisturbed, in two terms of 18 s.',
    },
    'a launcher’s uptime runs too fast': {
      done: 'By 500 s a second.',
      must: 'Logs and /status warn until a grant is accepted. No start before.',
    },
  },
  T22: {
    'the agent restarts while LangFlow hangs': { must: 'Handed over as fast as without the restart.' },
  },
  T23: {
    'the leader’s whole pod is killed and restarted in place': {
      done: 'Same UID and volumes.',
      must: 'Next holder within 1 s of the new launcher’s hello. Code `pod_restarted`.',
      clientGo: CRASH,
    },
    'the only pod is killed and restarted in place': { must: 'Leads again within 2.5 s of the hello.' },
    'a new container starts while the old one lives': {
      done: 'The old one is frozen. The agent restarts.',
      must: 'The old launcher still has its lock: the Lease expires.',
    },
  },
  T24: {
    'the API server hangs for 10 min, and all members agree': {
      done: 'Three replicas with `--failsafe=peers --failsafe-max=11m`.',
      must: 'No doubt. Renewals continue afterwards, and a handover works.',
    },
  },
  T25: {
    'a member dies while the API server hangs': {
      done: 'After 20 s.',
      must: 'Frozen within 10 s of the last consent, dead within 14 s.',
    },
  },
  T26: {
    'only the leader is cut off from the API server': {
      done: 'For 40 s.',
      must: 'The leader continues. No replica takes over.',
    },
  },
  T27: {
    'the leader is cut off from the API server and from a member': {
      must: 'Dead within 14 s of the last renewal. That member leads after a lease duration.',
    },
  },
  T28: {
    'a replica that is no member sees an expired Lease': {
      done: 'Leader and member are killed. `--failsafe-max=40s`.',
      must: 'It leads 40 s after the last renewal.',
    },
    'an operator declares members dead that live': {
      done: 'After 20 s of consent. One replica is no member.',
      must: 'The member refuses, and LangFlow is dead before another replica leads.',
    },
  },
  T29: {
    'LangFlow of a newer revision exits after its grant': {
      done: 'Code 1. Later a corrected revision starts.',
      must: 'An old replica leads after two takeovers. The failed one is never Ready nor leads again. The corrected one leads.',
    },
    'LangFlow of a newer revision is never healthy after its grant': {
      done: '`/health_check` is always 500.',
      must: 'The same, within 62 s of the grant.',
    },
    'LangFlow of a newer revision is not started, because its port is taken': {
      done: 'By another process, until the old revision leads again.',
      must: 'The revision is not blamed: it gets another grant within 75 s, leads, and is proven.',
    },
  },
  T30: {
    'LangFlow computes and answers nothing for 15 s': {
      must: 'Undisturbed, its gate stays open. It serves again when the loop has ended.',
    },
    'LangFlow computes and never answers again': { must: 'Handed over within 35 s (busy timeout 30 s).' },
    'LangFlow hangs without computing': {
      done: 'Once its event loop waits, once it is frozen.',
      must: 'Handed over within 11 s.',
    },
  },
  T31: {
    'a run is in flight while the leader’s pod is deleted': {
      done: 'It takes 25 s, with `--traffic=front`.',
      must: 'The run is answered, and so are requests that arrive meanwhile. Released within 1.5 s of the answer.',
    },
    'a run is in flight while a switchover is requested': {
      done: 'The same run.',
      must: 'As for the deleted pod.',
    },
  },
} as const satisfies Record<string, Record<string, FaultCase>>

type Table = typeof TABLE
export type CaseName = { [F in keyof Table]: keyof Table[F] }[keyof Table]

export interface Case extends FaultCase {
  readonly fault: string
  readonly name: CaseName
}

export const CASES: readonly Case[] = Object.entries(TABLE).flatMap(([fault, cases]) =>
  Object.entries(cases).map(([name, one]) => ({ fault, name: name as CaseName, ...(one as FaultCase) })),
)

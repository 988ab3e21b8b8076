/** One case of the fault table: the fault, what must hold, and the behaviour of client-go if it was measured. */
interface FaultCase {
  /** Absent if the name describes the whole fault. */
  readonly done?: string
  readonly must: string
  /** Absent if this case was not measured with client-go. */
  readonly clientGo?: string
  /** True if stopped processes wake up in a later term: they can execute before their launcher does. */
  readonly wakesUp?: boolean
}

const CRASH = 'next holder 17.6 s after the last renewal (median), 19.7 s at most'
const CUT = 'two leaders for 2.5-6.7 s in 50 of 50 black-holed links (ReleaseOnCancel)'
const LATE = 'leads for 16.9-21.9 s on a 15 s Lease'
const FOREIGN = 'releases the Lease of another holder (HEAD): two leaders for 11.2 s'
const KILLS = 'kills at 10 s'

/** Every case, by the fault of the design's table and the name of its test. */
const TABLE = {
  T1: {
    'the link is cut during a stop, and heals after a takeover': {
      done: 'A long request holds up the drain. The link is cut with the next renewal inside, and delivers it once another replica leads.',
      must: 'The old leader never clears the new holder, and acts no more.',
      clientGo: FOREIGN,
    },
  },
  T2: {
    'the Lease is edited to name another live holder': {
      done: '`kubectl patch`, three times.',
      must: 'LangFlow acts for at most 250 ms after the API server reports the edit. No replica takes the Lease for a lease duration.',
    },
  },
  T3: {
    'a renewal commits and its reply is lost': {
      done: 'From one renewal on, the leader receives no reply.',
      must: 'LangFlow is frozen 10 s, and dead 14 s, after the send of the last acknowledged renewal, although a later one committed.',
    },
    'a renewal’s reply is late, and no later one arrives': {
      done: 'The reply is 4 s late. Then the link is cut.',
      must: 'The deadlines count from the send, not from the reply.',
      clientGo: LATE,
    },
  },
  T4: {
    'the API server hangs for 12 s': {
      must: 'LangFlow is frozen at 10 s and thawed: same process, same epoch. No other replica acts.',
      clientGo: KILLS,
    },
    'the API server hangs for 60 s': {
      must: 'LangFlow is dead within 14 s of the last renewal. Afterwards exactly one replica serves.',
      clientGo: KILLS,
    },
  },
  T5: {
    'the link is cut during a stop, and stays cut': {
      done: 'LangFlow ignores the SIGTERM of a planned stop (stop timeout 30 s).',
      must: 'No release while LangFlow lives. Another replica leads once the Lease has expired.',
      clientGo: CUT,
    },
  },
  T6: {
    'the agent is killed and restarts': {
      must: 'The same LangFlow process continues in the same term.',
    },
    'the agent is killed and does not restart': {
      must: 'The launcher freezes LangFlow at most 10 s, and kills it at most 14 s, after the last renewal.',
    },
    'the agent is frozen': {
      done: 'For 20 s.',
      must: 'As for a killed agent. After it wakes up, the agent follows.',
    },
    'the launcher is killed': {
      done: 'The kernel ends its container.',
      must: 'The Lease is released once no process lives. Another replica serves immediately.',
    },
    'the launcher is frozen': {
      done: 'After 15 s the liveness probe fails: the container gets SIGTERM, and SIGKILL 5 s later, as in `deploy/langflow.yaml`.',
      must: 'The leader keeps the Lease until the container is gone.',
    },
    'the socket is removed': {
      done: 'Then the container restarts.',
      must: 'The running term continues. The agent makes the socket again and accepts the new launcher.',
    },
    'the agent of `run` is killed': {
      must: 'The launcher, its child, ends LangFlow.',
    },
    'the whole replica is killed': {
      done: 'Agent, launcher and LangFlow, at one instant.',
      must: 'The next replica leads at most 15.3 s after the last renewal.',
      clientGo: CRASH,
    },
  },
  T7: {
    'renewals succeed, and their replies are lost': {
      done: 'Three connections break before the reply.',
      must: 'The leader recognises its own write and continues.',
    },
    'a renewal conflicts, but no other replica leads': {
      done: 'The Lease is annotated three times while the agent is stopped for 2.5 s (409).',
      must: 'The leader reads the Lease, finds itself in it and continues.',
    },
    'the right to the Lease is missing for a while': {
      done: 'The RoleBinding is deleted (403) for 6 s.',
      must: 'The leader continues, and reports the missing right.',
    },
    'the API server answers 429': {
      done: 'Every write of the Lease, for 4 s (by an admission webhook).',
      must: 'The leader continues.',
    },
    'the API server answers 5xx': {
      done: 'Every write of the Lease, with 500, 503 and 504, for 4 s each.',
      must: 'The leader continues.',
    },
    'watches are truncated': {
      done: 'The follower’s watch ends in mid-stream five times, then is reset five times.',
      must: 'The follower watches again, and follows the next release immediately.',
    },
    'the watch history is compacted': {
      done: 'etcd compacts and kube-apiserver restarts: resuming the watch gets 410.',
      must: 'The follower watches again, and follows the next release immediately.',
    },
  },
  T8: {
    'LangFlow ignores SIGTERM and leaves daemons': {
      done: 'A planned stop (stop timeout 3 s). A child in another session ignores SIGTERM as well.',
      must: 'Both are dead before the release.',
    },
    'LangFlow’s parent is killed': {
      done: 'gunicorn’s master and worker survive.',
      must: 'Detected within 1 s. All are dead before the release.',
    },
    'LangFlow’s master is killed': {
      done: 'The worker survives and answers.',
      must: 'Detected within 1 s. All are dead before the release.',
    },
    'LangFlow’s worker is killed': {
      done: 'The master would start another one 7 s later.',
      must: 'Detected within 1 s. All are dead before the release.',
    },
  },
  T9: {
    'the Lease is deleted while held': {
      done: 'A candidate beside the follower has just seen the Lease once.',
      must: 'Its holder creates it again. No other replica takes it.',
    },
    'the Lease is deleted while its holder is cut off': {
      done: 'A candidate starts beside the follower.',
      must: 'No replica takes the Lease before the old leader’s LangFlow is dead.',
    },
  },
  T10: {
    'a second agent starts with the same identity': {
      must: 'The later agent refuses and exits with code 1. The leader continues.',
    },
  },
  T11: {
    'the leader’s wall clock jumps by an hour': {
      done: 'One hour back, right again, one hour ahead, for 18 s each.',
      must: 'The same process and term continue, with no pause above 500 ms.',
    },
    'the follower’s wall clock jumps by an hour': {
      done: 'One hour ahead, right again, one hour back, for 18 s each.',
      must: 'The follower does not take the Lease.',
    },
    'the machine is suspended for 30 s': {
      done: 'Every process of the leader’s pod is stopped, and continues 30 s later.',
      must: 'The grant has expired at wake-up: the launcher kills LangFlow at its first check of the clocks (every 100 ms).',
      wakesUp: true,
    },
    'the boot clock runs ahead of the monotonic clock': {
      done: 'The leader’s /proc/uptime jumps 30 s ahead, as after a suspension that the monotonic clock missed.',
      must: 'The grant has expired: the launcher kills LangFlow at its first check.',
    },
  },
  T12: {
    'the agent’s event loop is blocked for 20 s': {
      must: 'The launcher’s deadman fires in time. Afterwards the agent follows.',
    },
  },
  T13: {
    'the token expires': {
      done: 'The API server answers 401. The agents’ files already hold new tokens.',
      must: 'The agents read them, without an interruption.',
    },
    'the certificate authority changes': {
      done: 'kube-apiserver restarts with a new certificate, and the file holds the new authority.',
      must: 'The agents read it, without an interruption.',
    },
  },
  T14: {
    'SIGTERM without an API server': {
      done: 'A candidate has not reached the API server yet.',
      must: 'It ends cleanly, exit code 0.',
    },
    'SIGTERM while following': {
      must: 'It ends cleanly, exit code 0. The leader is not affected.',
    },
    'SIGTERM while LangFlow starts': {
      must: 'Clean handover, exit code 0.',
    },
    'SIGTERM while serving': {
      must: 'Clean handover, exit code 0.',
      clientGo: 'next holder 0.9 s after the release (median), 2.7 s at most',
    },
    'SIGTERM while in doubt': {
      done: 'The leader is cut off and has frozen LangFlow.',
      must: 'LangFlow is killed and never executes again. No release. Exit code 0.',
    },
    'SIGTERM while draining': {
      done: 'A second SIGTERM, while the drain waits for a request.',
      must: 'Released at most 1.5 s later. Clean handover, exit code 0.',
    },
    'SIGTERM while stopping': {
      done: 'A second SIGTERM, for both containers. LangFlow ignores SIGTERM (stop timeout 3 s).',
      must: 'Clean handover, exit code 0. No release before LangFlow is dead.',
    },
    'SIGTERM while cooling down': {
      done: 'The replica has stepped down after a failure of LangFlow.',
      must: 'It ends cleanly, exit code 0.',
    },
  },
  T15: {
    'the port is taken': {
      done: 'Another process listens on the first candidate’s port for LangFlow.',
      must: 'The candidate reports one clear sentence and steps down. The other serves.',
    },
    'LangFlow exits immediately, again and again': {
      done: 'Code 3, at each of seven starts of the first candidate. Then a healthy candidate joins. Lease 2 s, renew deadline 1 s, retry period 100 ms, kill margin 200 ms. A unit test (`test/election/transition.test.ts`) plays 20 starts.',
      must: 'Each pause is twice the one before. The other serves.',
    },
  },
  T16: {
    'the follower’s API server loses power before a handover to a cold standby': {
      done: 'The follower’s open connections, and its next one, carry nothing more, not even an end. Later ones reach a working API server.',
      must: 'The next replica leads at most three retry periods (6 s) after the release. Before, the follower sends only its watch.',
    },
    'the follower’s API server loses power before a crash, with a cold standby': {
      done: 'The same power loss. The leader renews once more, unseen by the follower.',
      must: 'The next replica leads at most 20.5 s (lease duration + 5.5 s) after the last renewal.',
    },
    'the leader’s API server loses power': {
      done: 'The connections of its renewals and its watch.',
      must: 'The leader renews over another connection: no doubt, same process and term.',
    },
  },
  T17: {
    'a replica of a newer revision cannot lead': {
      done: 'It starts as a peer of a healthy leader: with a wrong token (401), without rights (403), with only the rights to read, without egress, or with another namespace.',
      must: 'The leader always serves and never makes way. The new replica’s `/readyz?exclude=leadership` is 503, with the reason.',
    },
  },
  T18: {
    'a handover, with one prepared standby and one that hangs': {
      done: 'The prepared follower receives everything 0.3 s later.',
      must: 'The prepared follower leads.',
    },
    'a crash, with one prepared standby and one that hangs': {
      must: 'The prepared follower leads, in time.',
    },
  },
  T19: {
    'a request is held open during a handover': {
      must: 'Released at most 6.5 s (drain timeout 5 s + 1.5 s) after SIGTERM. The log names the client. Clean handover, exit code 0.',
    },
    'an SSE stream is held open during a handover': { must: 'As for a request.' },
    'a websocket is held open during a handover': { must: 'As for a request.' },
    'an idle connection is held open during a handover': {
      must: 'As for a request, but at most 3.5 s (2 s for new requests + 1.5 s) after SIGTERM.',
    },
  },
  T20: {
    'a flow attacks its launcher': {
      done: 'A process of LangFlow’s user sends every signal except SIGTERM and SIGINT to each thread of the launcher, asks for its debugger (SIGUSR1), and tries ptrace, process_vm_readv, process_vm_writev, pidfd_getfd and its files in /proc. A planned handover follows.',
      must: 'Same process and term. Every attempt is refused. Clean handover.',
    },
    'a flow kills tini': {
      done: 'tini is the ancestor of every process of LangFlow.',
      must: 'Every process is dead before the release. Another replica serves. The launcher ends, for a new container.',
    },
  },
  T21: {
    'each container has its own uptime': {
      done: 'One LangFlow container counts /proc/uptime from its own start, as under lxcfs or sysbox. The other’s is a day ahead. 18 s pass before and after a planned handover.',
      must: 'Grants hold: same process throughout each term, no doubt, no refused grant.',
    },
    'a launcher’s uptime runs too fast': {
      done: 'It gains 500 s a second until the launcher refuses its first grant.',
      must: 'Both logs and /status show a warning with the reason until a grant is accepted. LangFlow does not start before.',
    },
  },
  T22: {
    'the agent restarts while LangFlow hangs': {
      done: 'LangFlow gets SIGSTOP. The test repeats this without the restart.',
      must: 'The handover is as fast with the restart as without.',
    },
  },
  T23: {
    'the leader’s whole pod is killed and restarted in place': {
      done: 'Same UID and volumes.',
      must: 'The next replica leads at most 1 s after the new launcher’s hello. Reason of the release: `pod_restarted`.',
      clientGo: CRASH,
    },
    'the only pod is killed and restarted in place': {
      must: 'It leads a new term at most 2.5 s after the new launcher’s hello.',
    },
    'a new container starts while the old one lives': {
      done: 'The old container is frozen as a whole, until another replica leads. The agent is killed. Agent and container start again.',
      must: 'The old launcher still has its lock: no early release, the Lease expires.',
    },
  },
  T29: {
    'LangFlow of a newer revision exits after its grant': {
      done: 'The leader hands over to the new replica, and its LangFlow exits with code 1. Two old replicas remain. Later a replica of a corrected revision starts.',
      must: 'An old replica leads after two takeovers. No replica makes way for the failed revision again, and it is never Ready. The corrected one leads without further steps.',
    },
    'LangFlow of a newer revision is never healthy after its grant': {
      done: 'Its `/health_check` is always 500.',
      must: 'As for a LangFlow that exits, but at most 62 s after the grant.',
    },
  },
} as const satisfies Record<string, Record<string, FaultCase>>

type Table = typeof TABLE
export type CaseName = { [F in keyof Table]: keyof Table[F] }[keyof Table]

export interface Case extends FaultCase {
  /** The fault of the design's table, such as T1. */
  readonly fault: string
  readonly name: CaseName
}

/** All cases as a list, each with its fault. */
export const CASES: readonly Case[] = Object.entries(TABLE).flatMap(([fault, cases]) =>
  Object.entries(cases).map(([name, one]) => ({ fault, name: name as CaseName, ...(one as FaultCase) })),
)

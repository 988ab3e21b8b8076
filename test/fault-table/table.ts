/** One case of the fault table: what is done, what must hold, and what client-go does where that was measured. */
interface FaultCase {
  readonly done: string
  readonly must: string
  /** Absent where nobody measured this very case. */
  readonly clientGo?: string
  /** Processes are stopped from outside and wake up in a later term: nothing can run before they do. */
  readonly wakesUp?: boolean
}

const CRASH = 'next holder 17.6 s after the last renewal (median), 19.7 s at most'
const CUT = 'two leaders for 2.5-6.7 s in 50 of 50 black-holed links (ReleaseOnCancel)'
const LATE = 'leads for 16.9-21.9 s on a 15 s Lease'
const FOREIGN = 'releases what someone else holds (HEAD): two leaders for 11.2 s'
const KILLS = 'kills at 10 s'

/** Of T16, whatever the follower's standby. */
const DEAD_SERVER_HANDOVER = {
  done: 'Nothing passes over the follower’s connections any more, no end either, nor over the next one that it opens; later ones lead to an API server that answers. The leader is told to end right after a renewal.',
  must: 'The next holder at most three retry periods (6 s) after the release; before the fault the follower sends no request beside its watch.',
} as const
const DEAD_SERVER_CRASH = {
  done: 'The same; the leader renews once more, which the follower is not told of, and is killed with its launcher.',
  must: 'The next holder at most 20.5 s (lease duration + 5.5 s) after the last renewal.',
} as const

/** A case that comes once more with a warm standby. */
const WITH_WARM = { done: 'The same with a warm standby.', must: 'The same.' } as const

/** Of T19. */
const heldOpen = (what: string, limit: string) => ({
  done: `${what} is held open while the leader’s pod ends; once with a cold standby, once with a warm one.`,
  must: `Released at most ${limit} after SIGTERM; the log says for whom it waits; clean handover, code 0.`,
})

/** Every case, by the fault of the design's table and the name of its test. */
const TABLE = {
  T1: {
    'a planned stop is cut off, another takes over, and the link heals': {
      done: 'The leader is told to end while a long request holds up its drain; its link is black-holed with the next renewal inside, and heals once another holds the Lease: what was held back is delivered then.',
      must: 'The new holder is never cleared; the old one acts no more.',
      clientGo: FOREIGN,
    },
    'in doubt with --on-doubt=stop, and the link heals while stopping': {
      done: 'The leader’s link is black-holed; LangFlow ignores the SIGTERM of the renew deadline; the link heals 2 s later.',
      must: 'The Lease is released only after the stop, and only by its holder.',
    },
  },
  T2: {
    'the Lease is edited to another live holder': {
      done: '`kubectl patch` names another holder, three times.',
      must: 'LangFlow’s last sign of life at most 250 ms after the API server told of it; the stranger is left alone for a whole lease duration.',
    },
  },
  T3: {
    'a renewal commits and its reply is lost': {
      done: 'From one renewal on, the leader’s requests reach the API server and no reply comes back, for good.',
      must: 'LangFlow stops 10 s and is dead 14 s after the send of the last acknowledged renewal, although a later one had committed.',
    },
    'a renewal’s reply is late, and nothing follows it': {
      done: 'A reply comes 4 s late; from then on the link is black-holed.',
      must: 'The deadlines count from the send, not from the reply.',
      clientGo: LATE,
    },
  },
  T4: {
    'the API server hangs for 12 s': {
      done: 'SIGSTOP of kube-apiserver, SIGCONT 12 s later.',
      must: 'Frozen at 10 s and thawed: same process, same epoch, nobody else acts.',
      clientGo: KILLS,
    },
    'the API server hangs for 60 s': {
      done: 'SIGSTOP of kube-apiserver, SIGCONT 60 s later.',
      must: 'Dead within 14 s of the last renewal; afterwards exactly one serves.',
      clientGo: KILLS,
    },
  },
  T5: {
    'the link is cut while stopping': {
      done: 'The leader is told to end, LangFlow ignores SIGTERM (stop timeout 30 s); the link is black-holed meanwhile.',
      must: 'No release before nothing lives; the next holder comes when the Lease has expired.',
      clientGo: CUT,
    },
  },
  T6: {
    'the agent is killed and comes back': {
      done: 'SIGKILL of the agent in a pod; it is started again at once.',
      must: 'The same LangFlow process goes on in the same term.',
    },
    'the agent is killed and stays away': {
      done: 'SIGKILL of the agent in a pod, for good.',
      must: 'The launcher freezes 10 s and kills 14 s after the last renewal at the latest; another takes over then.',
    },
    'the agent is frozen': {
      done: 'SIGSTOP of the agent for 20 s.',
      must: 'As if it were dead; when it wakes up it follows.',
    },
    'the launcher is killed': {
      done: 'SIGKILL of the launcher in a pod: the kernel ends the container.',
      must: 'Released once nothing lives; another serves at once.',
    },
    'the launcher is frozen': {
      done: 'SIGSTOP of the launcher in a pod; its liveness probe has failed after 15 s: SIGTERM, SIGKILL 5 s later, as `deploy/base` sets it.',
      must: 'The Lease is kept until the container is gone.',
    },
    'the socket is removed': {
      done: 'The agent’s socket is deleted, then the container restarts.',
      must: 'The running term goes on; the socket is made again, and the new launcher is let in.',
    },
    'agent and launcher of one tree: the agent is killed': {
      done: 'SIGKILL of the agent of `run`, where the launcher is its child.',
      must: 'The launcher ends LangFlow by itself.',
    },
    'the whole replica is killed': {
      done: 'SIGKILL of agent, launcher and LangFlow at one instant.',
      must: 'The next holder at most 15.3 s after the last renewal.',
      clientGo: CRASH,
    },
  },
  T7: {
    'renewals succeed, and their replies are lost': {
      done: 'Three renewals commit, and their replies are lost with the connection: the Lease has a version that the leader does not know.',
      must: 'The leader recognises its own write and goes on.',
    },
    'a renewal is answered by a conflict, and nobody else holds the Lease': {
      done: 'Three times the Lease is annotated while the agent is stopped for 2.5 s, so that its next renewal meets a version it does not know (409).',
      must: 'The leader reads the Lease again, finds itself in it and goes on.',
    },
    'the right to the Lease is withdrawn for a while': {
      done: 'The RoleBinding is deleted (403) for 6 s.',
      must: 'The leader goes on, and says which right is missing.',
    },
    'the API server answers 429': {
      done: 'Every write of the Lease is answered 429 for 4 s (by an admission webhook).',
      must: 'The leader goes on.',
    },
    'the API server answers 5xx': {
      done: 'The same with 500, 503 and 504, one after another.',
      must: 'The leader goes on.',
    },
    'etcd is down for a while': {
      done: 'etcd is killed, and started again once the leader has noticed.',
      must: 'The leader goes on.',
    },
    'watches are truncated': {
      done: 'The follower’s watch is ended in mid-stream, then reset, five times each.',
      must: 'It watches again, and follows the next release at once.',
    },
    'the history is compacted': {
      done: 'etcd compacts its history and kube-apiserver starts again: resuming the watch is answered 410.',
      must: 'The follower watches from the present, and follows the next release at once.',
    },
  },
  T8: {
    'LangFlow ignores SIGTERM and leaves daemons': {
      done: 'Planned stop (stop timeout 3 s) of a LangFlow that ignores SIGTERM and has left a process in a session of its own that does as well.',
      must: 'All of it is dead before the release.',
    },
    'LangFlow’s parent is killed': {
      done: 'SIGKILL of the parent of gunicorn’s master (imitated tree); master and worker live on.',
      must: 'Seen within 1 s; all dead before the release.',
    },
    'LangFlow’s master is killed': {
      done: 'SIGKILL of gunicorn’s master (imitated tree); the worker lives on and answers.',
      must: 'Seen within 1 s; all dead before the release.',
    },
    'LangFlow’s worker is killed': {
      done: 'SIGKILL of the worker (imitated tree); the master would start another 7 s later.',
      must: 'Seen within 1 s; all dead before the release.',
    },
  },
  T9: {
    'the Lease is deleted while held': {
      done: '`kubectl delete lease`, with a follower, and a candidate that has just started and seen the Lease once.',
      must: 'Its holder makes it again; nobody else takes it.',
    },
    'the Lease is deleted while its holder is cut off': {
      done: 'The leader’s link is black-holed, then the Lease is deleted; beside the follower, another candidate starts.',
      must: 'Nobody takes it before the old leader’s LangFlow is dead.',
    },
  },
  T10: {
    'a second agent with the same identity': {
      done: 'Another replica is started under the leader’s identity.',
      must: 'The later one refuses and ends with code 1; the leader goes on.',
    },
  },
  T11: {
    'the leader’s wall clock jumps by an hour': {
      done: 'The leader’s wall clock is set one hour back, right again, and one hour ahead, for 18 s each.',
      must: 'The same process and term go on; no pause of more than 500 ms.',
    },
    'the follower’s wall clock jumps by an hour': {
      done: 'The follower’s wall clock is set one hour ahead, right again, and one hour back, for 18 s each.',
      must: 'It takes nothing.',
    },
    'the machine is suspended for 30 s': {
      done: 'Every process of the leader’s pod is stopped; 30 s later all go on at once.',
      must: 'Expired at wake-up: LangFlow is killed at the first look at the clocks (each 100 ms).',
      wakesUp: true,
    },
    'the boot clock runs ahead of the monotonic clock': {
      done: 'The leader’s /proc/uptime jumps 30 s ahead, as after a suspension that the monotonic clock did not count.',
      must: 'Expired: LangFlow is killed at the first look at the clocks (each 100 ms).',
    },
  },
  T12: {
    'the agent’s event loop is blocked for 20 s': {
      done: 'A busy loop of 20 s in the agent.',
      must: 'The launcher’s deadman fires in time; afterwards the agent follows.',
    },
  },
  T13: {
    'the token expires': {
      done: 'The API server no longer takes the agents’ tokens (401); new ones are in the files by then.',
      must: 'Read again; no interruption.',
    },
    'the certificate authority changes': {
      done: 'kube-apiserver starts again with a certificate of another authority, which replaces the old one in the file.',
      must: 'Read again; no interruption.',
    },
  },
  T14: {
    'SIGTERM without an API server': {
      done: 'SIGTERM of a candidate that has not reached the API server yet.',
      must: 'Ends cleanly, code 0.',
    },
    'SIGTERM while following': {
      done: 'SIGTERM of a follower.',
      must: 'Ends cleanly, code 0; the leader notices nothing.',
    },
    'SIGTERM while LangFlow starts': {
      done: 'SIGTERM of a leader whose LangFlow is not healthy yet.',
      must: 'Clean handover, code 0.',
    },
    'SIGTERM while serving': {
      done: 'SIGTERM of the leader.',
      must: 'Clean handover, code 0.',
      clientGo: 'next holder 0.9 s after the release (median), 2.7 s at most',
    },
    'SIGTERM while in doubt': {
      done: 'SIGTERM of a leader that is cut off and has frozen LangFlow.',
      must: 'Killed without executing again; never released; code 0.',
    },
    'SIGTERM while draining': {
      done: 'A second SIGTERM while the first one’s drain waits for a request.',
      must: 'The request is not waited for any longer: released at most 1.5 s later; clean handover, code 0.',
    },
    'SIGTERM while stopping': {
      done: 'A second SIGTERM, of both containers, while the first one’s stop waits for a LangFlow that ignores SIGTERM (stop timeout 3 s).',
      must: 'Clean handover, code 0; released only after LangFlow is dead.',
    },
    'SIGTERM while cooling down': {
      done: 'SIGTERM of a replica that has stepped down after a failure of LangFlow.',
      must: 'Ends cleanly, code 0.',
    },
  },
  T15: {
    'the port is taken': {
      done: 'Another process listens on LangFlow’s port of the first candidate.',
      must: 'One clear sentence; it steps down, and the other serves.',
    },
    'LangFlow exits at once, again and again': {
      done: 'LangFlow exits with code 3 at every start of the first candidate, seven times; then a healthy candidate joins. Lease 2 s, renew deadline 1 s, retry period 100 ms, kill margin 200 ms, so that the back-off fits (a unit test, `test/election/transition.test.ts`, goes through 20).',
      must: 'Each pause before the next try is twice the one before; the other serves.',
    },
  },
  T16: {
    'the follower’s API server loses its power, and the leader hands over to a cold standby':
      DEAD_SERVER_HANDOVER,
    'the follower’s API server loses its power, and the leader is killed beside a cold standby':
      DEAD_SERVER_CRASH,
    'the follower’s API server loses its power, and the leader hands over to a prepared standby':
      DEAD_SERVER_HANDOVER,
    'the follower’s API server loses its power, and the leader is killed beside a prepared standby':
      DEAD_SERVER_CRASH,
    'the leader’s API server loses its power': {
      done: 'The same to the leader’s connections, its renewals’ and its watch’s.',
      must: 'It renews over another connection: no doubt, the same process and term.',
    },
  },
  T17: {
    'a newer revision that could not lead': {
      done: 'Beside a healthy leader, whose peers it is among, a replica of a newer revision starts: with a wrong token (401), without rights (403), with rights to read only, without a way to the API server, set to another namespace.',
      must: 'The leader never makes way for it and serves all along; its `/readyz?exclude=leadership` is 503, with the reason.',
    },
  },
  T18: {
    'released beside one whose standby never gets ready': {
      done: 'SIGTERM of the leader, beside one follower whose warm standby hangs and one whose is ready, which hears of everything 0.3 s later.',
      must: 'The prepared one leads.',
    },
    'expired beside one whose standby never gets ready': {
      done: 'The same, with SIGKILL of the whole leader.',
      must: 'The prepared one leads, in time.',
    },
    'the leader’s standby never gets ready, and a peer’s is': {
      done: 'A leader waits for its warm standby, which hangs; then a peer becomes ready whose standby does not.',
      must: 'It hands over to the peer.',
    },
  },
  T19: {
    'a request is held open on a planned handover': heldOpen(
      'A request that is not answered',
      '6.5 s (drain timeout 5 s + 1.5 s)',
    ),
    'an SSE stream is held open on a planned handover': heldOpen('An answer that does not end', '6.5 s'),
    'a websocket is held open on a planned handover': heldOpen('A websocket', '6.5 s'),
    'an idle connection is held open on a planned handover': heldOpen(
      'A keep-alive connection without a request',
      '3.5 s (2 s in which new requests may come + 1.5 s)',
    ),
  },
  T20: {
    'a flow attacks its launcher': {
      done: 'A process of LangFlow’s user in its container sends every signal but SIGTERM and SIGINT to the launcher and to each of its threads, asks for its debugger (SIGUSR1), and tries ptrace, process_vm_readv and process_vm_writev, pidfd_getfd, and what /proc has of it. Then a planned handover.',
      must: 'Same process and term; every attempt is refused; the handover is clean.',
    },
    'a flow attacks its launcher, and the standby is prepared': WITH_WARM,
    'a flow kills tini': {
      done: 'SIGKILL of tini, the parent of all that LangFlow started.',
      must: 'Everything is dead before the release; another serves; the launcher ends, so that the container is made anew.',
    },
    'a flow kills tini, and the standby is prepared': WITH_WARM,
  },
  T21: {
    'each container has an uptime of its own': {
      done: 'LangFlow’s container of the one replica counts /proc/uptime from its own start, as under lxcfs or sysbox, that of the other one is a day ahead; 18 s, a planned handover, 18 s.',
      must: 'Grants hold: same process throughout, no doubt, no grant refused.',
    },
    'each container has an uptime of its own, and the standby is prepared': WITH_WARM,
    'a launcher’s uptime runs away': {
      done: '/proc/uptime of a launcher gains 500 s a second, from its start until its first grant was refused.',
      must: 'A warning with the reason in both logs, and in /status, until a grant is accepted; LangFlow does not start before.',
    },
  },
  T22: {
    'the agent is restarted beside a LangFlow that hangs': {
      done: 'LangFlow is stopped (SIGSTOP), then the agent is killed and started again; once more without the restart.',
      must: 'Handed over as fast with the restart as without.',
    },
  },
  T23: {
    'every process of the leader’s pod is killed, and the pod is restarted in place': {
      done: 'SIGKILL of agent, launcher and LangFlow at one instant; agent and container are started again at once, with the same UID and volumes.',
      must: 'The next holder at most 1 s after the new launcher’s hello; the Lease is released with the reason `pod_restarted`.',
      clientGo: CRASH,
    },
    'every process of the only pod is killed, and the pod is restarted in place': {
      done: 'The same without another replica.',
      must: 'It leads a new term at most 2.5 s after the new launcher’s hello.',
    },
    'a new container is started beside one that is still there': {
      done: 'Everything in the leader’s container is stopped (SIGSTOP), as by a frozen cgroup; the agent is killed, and agent and container are started again beside the old container. The old one is killed once another leads.',
      must: 'The old launcher still has its lock: no early release, the Lease expires.',
    },
  },
  T29: {
    'LangFlow of a newer revision exits after its grant': {
      done: 'Beside two replicas of a revision that serves, one of a newer revision becomes prepared, and the leader hands over to it; its LangFlow exits with code 1. Then a replica of a corrected revision starts beside them.',
      must: 'An old replica leads again after two takeovers, and makes way for the failed revision no more, which is never Ready; the corrected one leads with no further step.',
    },
    'LangFlow of a newer revision is never healthy after its grant': {
      done: 'The same with a LangFlow whose `/health_check` is always 500.',
      must: 'The same, at most 60 s after its grant.',
    },
  },
} as const satisfies Record<string, Record<string, FaultCase>>

type Table = typeof TABLE
export type CaseName = { [F in keyof Table]: keyof Table[F] }[keyof Table]

/** The same as a list, with the fault of each. */
export const CASES = Object.entries(TABLE).flatMap(([fault, cases]) =>
  Object.entries(cases).map(([name, one]) => ({ fault, name: name as CaseName, ...(one as FaultCase) })),
)

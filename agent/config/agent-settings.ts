import { choice, group, onOff, optional, setting } from './setting.ts'
import {
  parseCount,
  parseDuration,
  parseFile,
  parseFrontAddress,
  parseFrontListen,
  parseHoldLimit,
  parseIdentity,
  parseLeaseDuration,
  parseListen,
  parseNamespace,
  parseObjectName,
  parsePath,
  parsePeers,
  parseSocket,
  parseTarget,
} from './values.ts'

// The schema of all flags of agent, launcher and run. The help texts, the variables and docs/reference.md are made from it.

function duration(fallback: string, minMs: number, about: string) {
  return setting('<duration>', fallback, about, (text) => parseDuration(text, minMs))
}

/** The settings that agent and launcher share. */
export const SHARED_SETTINGS = {
  ...group('LangFlow', {
    socket: setting(
      '<path>',
      '/run/langflow-leader/launcher.sock',
      'the unix socket between agent and launcher',
      parseSocket,
    ),
    stopTimeoutMs: duration(
      '30s',
      0,
      'time from SIGTERM to SIGKILL, if no connection is open; 5s if LangFlow hangs',
    ),
  }),
  ...group('Output', {
    // The levels of pino, from the most verbose to silent.
    logLevel: choice(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'the lowest level that is logged',
      'info',
    ),
  }),
}

/** Several absolute paths, separated by commas. None by default. */
function paths(about: string) {
  const parseOne = (text: string) => parsePath(text.trim()).replace(/(.)\/$/, '$1')
  const parse = (text: string) => (text === '' ? [] : text.split(',').map(parseOne))
  const one = setting('<path>', '', `${about}; repeat it for several`, parse)
  return { ...one, otherwise: 'none', repeats: true as const }
}

/** The settings of the launcher alone: the agent never reads these files. */
export const CONTENT_SETTINGS = group('Flows and secrets', {
  handoverOnChange: paths(
    'a file or directory that LangFlow reads at its start, such as its flows; if it changes, LangFlow starts again, see --on-change',
  ),
  envFile: paths(
    "a file of KEY=value lines for LangFlow's environment, read before each start; if a value changes, LangFlow starts again",
  ),
})

export const AGENT_SETTINGS = {
  ...group('Lease', {
    leaseName: setting(
      '<name>',
      'langflow-leader-lock',
      'the Lease that the replicas compete for',
      parseObjectName,
    ),
    leaseNamespace: optional(
      '<namespace>',
      "the pod's own, else the kubeconfig's",
      'the namespace of the Lease',
      parseNamespace,
    ),
    kubeconfig: optional(
      '<file>',
      'in-cluster, else $KUBECONFIG, else ~/.kube/config',
      'the kubeconfig file for the API server',
      parseFile,
    ),
    identity: optional(
      '<name>',
      '<POD_NAME>_<POD_UID>, else <hostname>_<random>',
      "this replica's unique name in the Lease",
      parseIdentity,
    ),
  }),
  ...group('Timing', {
    leaseDurationMs: setting(
      '<duration>',
      '15s',
      'how long a Lease without a renewal belongs to its holder',
      parseLeaseDuration,
    ),
    renewDeadlineMs: duration('10s', 1, 'time without a renewal until leadership is in doubt'),
    retryPeriodMs: duration('2s', 1, 'time between two renewals, or between two polls if the watch is down'),
    // The clock that also counts a machine's sleep has steps of 10 ms, and killing takes a moment.
    killMarginMs: duration('1s', 100, 'time between the kill of LangFlow and the end of the Lease'),
    onDoubt: choice(['freeze', 'stop'], 'the action on LangFlow if leadership is in doubt'),
  }),
  ...group('LangFlow', {
    target: setting('<url>', 'http://127.0.0.1:7860', 'the address of LangFlow in this pod', parseTarget),
    stateDir: setting(
      '<dir>',
      '/var/lib/langflow-leader',
      "the directory with the agent's state, which a restarted agent reads; mount it only in the agent's container",
      parsePath,
    ),
    standby: choice(['cold', 'warm'], 'how a follower prepares LangFlow'),
    allowOlder: onOff(
      'take over even if a newer LangFlow has led; first restore a database backup from before the upgrade',
    ),
    startTimeoutMs: duration('10m', 1, "time from LangFlow's start to its first healthy answer"),
    drainTimeoutMs: duration(
      '5s',
      0,
      'how long a planned stop waits for open connections before it closes them',
    ),
  }),
  ...group('Health and traffic', {
    healthIntervalMs: duration('1s', 1, 'time between two health requests'),
    healthTimeoutMs: duration('2s', 1, 'how long a health request may take'),
    healthFailures: setting(
      '<count>',
      '3',
      'number of consecutive failed health requests until LangFlow counts as failed',
      parseCount,
    ),
    onCrash: choice(['handover', 'restart'], "the action if the leader's LangFlow fails"),
    peers: optional(
      '<host:port,…>',
      'no other agent is asked',
      'the addresses of all agents, as one name or a list; if no other replica is ready, a failed LangFlow is restarted in place',
      parsePeers,
    ),
    traffic: choice(['readiness', 'front'], 'how requests reach only the leader'),
    listen: setting(
      '<address>',
      ':8090',
      'the address of /readyz, /metrics and the other endpoints',
      parseListen,
    ),
  }),
  ...group('Flows and secrets', {
    onChange: choice(
      ['handover', 'restart', 'ignore'],
      "the action if the content of --handover-on-change or --env-file differs from that at LangFlow's start",
    ),
  }),
  ...group('Front (--traffic=front)', {
    holdTimeoutMs: duration('30s', 1, 'how long the front holds a request before it answers 503'),
    holdLimit: setting('<count>', '1000', 'how many requests the front holds at a time', parseHoldLimit),
    streamGraceMs: duration(
      '2s',
      0,
      'how long streams and websockets, and requests beside them, continue after a handover has begun',
    ),
    frontListen: setting('<address>', ':8091', 'the address on which the front listens', parseFrontListen),
    frontAddress: optional(
      '<host:port>',
      '<POD_IP> (outside of a pod 127.0.0.1) and the port of --front-listen',
      "the address by which other fronts reach this replica's front",
      parseFrontAddress,
    ),
  }),
  ...SHARED_SETTINGS,
}

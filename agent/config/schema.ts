import { choice, group, onOff, optional, setting } from './setting.ts'
import {
  parseCount,
  parseDuration,
  parseFile,
  parseFrontListen,
  parseHoldLimit,
  parseIdentity,
  parseLeaseDuration,
  parseListen,
  parseNamespace,
  parseObjectName,
  parsePath,
  parsePeer,
  parsePeers,
  parseSocket,
  parseTarget,
} from './values.ts'

// The schema of all flags of agent, launcher and run. The help texts, the variables and docs/reference.md are made from it.

function duration(fallback: string, minMs: number, about: string) {
  return setting('<duration>', fallback, about, (text) => parseDuration(text, minMs))
}

const SOCKET = '/run/langflow-leader/launcher.sock'
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

export const SHARED_SETTINGS = {
  ...group('LangFlow', {
    socket: setting('<path>', SOCKET, 'the unix socket between agent and launcher', parseSocket),
    stopTimeoutMs: duration('30s', 0, 'time from SIGTERM to SIGKILL, if no connection is open'),
  }),
  ...group('Output', { logLevel: choice(LEVELS, 'the lowest level that is logged', 'info') }),
}

function paths(about: string) {
  const parseOne = (text: string) => parsePath(text.trim()).replace(/(.)\/$/, '$1')
  const parse = (text: string) => (text === '' ? [] : text.split(',').map(parseOne))
  const one = setting('<path>', '', `${about}; repeatable`, parse)
  return { ...one, otherwise: 'none', repeats: true as const }
}

/** The settings of the launcher alone: the agent never reads these files. */
export const CONTENT_SETTINGS = group('Flows and secrets', {
  handoverOnChange: paths('a file or directory: a change starts LangFlow again'),
  envFile: paths("KEY=value lines for LangFlow's environment: a change starts LangFlow again"),
})

const NAMESPACE = "the pod's own, else the kubeconfig's"
const KUBECONFIG = 'in-cluster, else $KUBECONFIG, else ~/.kube/config'
const IDENTITY = '<POD_NAME>_<POD_UID>, else <hostname>_<random>'
const FRONT_ADDRESS = '<POD_IP> (outside of a pod 127.0.0.1) and the port of --front-listen'
const STATE = '/var/lib/langflow-leader'

export const AGENT_SETTINGS = {
  ...group('Lease', {
    leaseName: setting('<name>', 'langflow-leader-lock', 'the name of the Lease', parseObjectName),
    leaseNamespace: optional('<namespace>', NAMESPACE, 'the namespace of the Lease', parseNamespace),
    kubeconfig: optional('<file>', KUBECONFIG, 'the kubeconfig file for the API server', parseFile),
    identity: optional('<name>', IDENTITY, "this replica's unique name in the Lease", parseIdentity),
  }),
  ...group('Timing', {
    leaseDurationMs: setting(
      '<duration>',
      '15s',
      'how long a Lease lasts without renewal',
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
    stateDir: setting('<dir>', STATE, "the agent's state; mount it only in the agent's container", parsePath),
    standby: choice(['cold', 'warm'], 'how a follower prepares LangFlow'),
    startTimeoutMs: duration('10m', 1, "time from LangFlow's start to its first healthy answer"),
    drainTimeoutMs: duration('5s', 0, 'how long a planned stop waits before it closes open connections'),
  }),
  ...group('Health and traffic', {
    healthIntervalMs: duration('1s', 1, 'time between two health requests'),
    healthTimeoutMs: duration('2s', 1, 'how long a health request may take'),
    healthFailures: setting('<count>', '3', 'failed health requests in a row that end the term', parseCount),
    busyTimeoutMs: duration('30s', 0, 'how long LangFlow may miss health requests while it works'),
    onCrash: choice(['handover', 'restart'], "the action if the leader's LangFlow fails"),
    peers: optional('<host:port,…>', 'no other agent is asked', 'the addresses of all agents', parsePeers),
    failsafe: choice(['none', 'peers'], 'what may replace the API server while it is away'),
    failsafeMaxMs: duration('10m', 1, 'how long the leader may lead without the API server'),
    reportLostPods: onOff('set the pod of a lost replica to not Ready, as the leader'),
    traffic: choice(['readiness', 'front'], 'how requests reach only the leader'),
    listen: setting('<address>', ':8090', 'the address of /readyz, /metrics and the others', parseListen),
  }),
  ...group('Flows and secrets', {
    onChange: choice(['handover', 'restart', 'ignore'], 'the action if watched files or variables change'),
  }),
  ...group('Front (--traffic=front)', {
    holdTimeoutMs: duration('30s', 1, 'how long the front holds a request before it answers 503'),
    quietTimeoutMs: duration('30s', 0, 'how long a planned handover waits until no request is in flight'),
    holdLimit: setting('<count>', '1000', 'how many requests the front holds at a time', parseHoldLimit),
    queueWaitMs: duration('10s', 0, 'how long a request waits for a busy LangFlow before a 503; 0: no limit'),
    streamGraceMs: duration('2s', 0, 'how long streams and websockets continue after a handover has begun'),
    frontListen: setting('<address>', ':8091', 'the address on which the front listens', parseFrontListen),
    frontAddress: optional('<host:port>', FRONT_ADDRESS, 'the address for other fronts', parsePeer),
  }),
  ...SHARED_SETTINGS,
}

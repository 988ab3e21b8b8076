import { choice, group, onOff, optional, setting } from './setting.ts'
import { PRESETS } from './timings.ts'
import {
  formatDuration,
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

// The one schema of all flags of agent, launcher and run, and the source of --help, the environment and
// docs/reference.md.

function duration(fallback: string, minMs: number, about: string) {
  return setting('<duration>', fallback, about, (text) => parseDuration(text, minMs))
}

/** A duration that `--preset` sets if its own flag is not given. */
function preset(timing: keyof typeof PRESETS.default, about: string, parse = atLeastOne) {
  const otherwise = `${formatDuration(PRESETS.default[timing])}; fast: ${formatDuration(PRESETS.fast[timing])}`
  return optional('<duration>', otherwise, about, parse)
}

function atLeastOne(text: string): number {
  return parseDuration(text, 1)
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
    stopTimeoutMs: duration('30s', 0, 'from SIGTERM to SIGKILL, where no connection is open; 5s if it hangs'),
  }),
  ...group('Output', {
    // The levels of pino, from most to least.
    logLevel: choice(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'the least that is logged',
      'info',
    ),
  }),
}

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
      'where the Lease is',
      parseNamespace,
    ),
    kubeconfig: optional(
      '<file>',
      'in-cluster, else $KUBECONFIG, else ~/.kube/config',
      'how to reach the API server',
      parseFile,
    ),
    identity: optional(
      '<name>',
      '<POD_NAME>_<POD_UID>, else <hostname>_<random>',
      "this replica's name in the Lease, which no other may have",
      parseIdentity,
    ),
  }),
  // Lease duration, renew deadline and retry period: `null` if `--preset` sets them.
  ...group('Timing', {
    preset: choice(['default', 'fast'], 'the timings that are not set one by one'),
    leaseDurationMs: preset(
      'leaseDurationMs',
      "how long a Lease that is not renewed stays its holder's",
      parseLeaseDuration,
    ),
    renewDeadlineMs: preset('renewDeadlineMs', 'without a renewal for so long, leadership is in doubt'),
    retryPeriodMs: preset('retryPeriodMs', 'between two renewals, or two polls while there is no watch'),
    // The clock that also counts a machine's sleep has steps of 10 ms, and a kill takes a moment.
    killMarginMs: duration('1s', 100, 'how long before the Lease expires LangFlow is killed'),
    onDoubt: choice(['freeze', 'stop'], 'what happens to LangFlow while leadership is in doubt'),
  }),
  ...group('LangFlow', {
    target: setting('<url>', 'http://127.0.0.1:7860', 'where LangFlow answers', parseTarget),
    stateDir: setting(
      '<dir>',
      '/var/lib/langflow-leader',
      'what a restarted agent must know; only its own container may mount it',
      parsePath,
    ),
    standby: choice(['cold', 'warm'], 'what a follower keeps ready'),
    allowOlder: onOff(
      'take over also what a newer LangFlow has led: only after a backup from before was restored',
    ),
    startTimeoutMs: duration('10m', 1, 'from the order to start to the first healthy answer'),
    drainTimeoutMs: duration(
      '5s',
      0,
      'how long a planned stop waits for connections that are open; then they are cut off',
    ),
  }),
  ...group('Health and traffic', {
    healthIntervalMs: duration('1s', 1, 'between two health requests'),
    healthTimeoutMs: duration('2s', 1, 'how long a health request may take'),
    healthFailures: setting(
      '<count>',
      '3',
      'failed health requests in a row until LangFlow counts as failed',
      parseCount,
    ),
    onCrash: choice(['handover', 'restart'], 'what happens when LangFlow fails on the leader'),
    peers: optional(
      '<host:port,…>',
      'nobody is asked',
      'where all replicas’ agents answer, as one name or a list: with none of them ready, a LangFlow that fails is restarted in place',
      parsePeers,
    ),
    traffic: choice(['readiness', 'front'], 'how only the leader is reached'),
    listen: setting(
      '<address>',
      ':8090',
      'where /readyz, /metrics and the other endpoints answer',
      parseListen,
    ),
  }),
  ...group('Front (--traffic=front)', {
    holdTimeoutMs: duration(
      '30s',
      1,
      'how long a request waits for somebody to serve it; then it is answered 503',
    ),
    holdLimit: setting('<count>', '1000', 'how many requests wait at a time', parseHoldLimit),
    streamGraceMs: duration(
      '2s',
      0,
      'how long streams and websockets, and requests beside them, go on once a planned takeover has begun',
    ),
    frontListen: setting('<address>', ':8091', 'where the front takes requests', parseFrontListen),
    frontAddress: optional(
      '<host:port>',
      '<POD_IP> and the port of --front-listen, outside of a pod 127.0.0.1',
      "where the other replicas' fronts reach this one's",
      parseFrontAddress,
    ),
  }),
  ...SHARED_SETTINGS,
}

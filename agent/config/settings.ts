import { parseListen, parsePeers, parseTarget } from './address.ts'
import { formatDuration, parseDuration } from './duration.ts'
import { parseIdentity, parseNamespace, parseObjectName, parsePath, parseSocket } from './names.ts'
import { reads, type Setting } from './setting.ts'
import { PRESETS } from './timings.ts'

/** What pino knows, from all to nothing. */
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

function duration(fallback: string, minMs: number, group: string, about: string) {
  return {
    argument: '<duration>',
    fallback,
    about,
    group,
    schema: reads((text) => parseDuration(text, minMs)),
  } as const
}

/** A duration that `--preset` decides on where it is not set. */
function preset(timing: keyof typeof PRESETS.default, about: string) {
  const otherwise = `${formatDuration(PRESETS.default[timing])}; fast: ${formatDuration(PRESETS.fast[timing])}`
  const { fallback: _, ...setting } = duration('', 1, 'Timing', about)
  return { ...setting, otherwise }
}

function choice<const T extends string>(choices: readonly T[], group: string, about: string) {
  const schema = reads((text): T => {
    const found = choices.find((one) => one === text)
    if (found !== undefined) return found
    throw new Error(
      choices.length === 1 ? `this version knows only ${choices[0]}` : `use one of ${choices.join(', ')}`,
    )
  })
  return { argument: '<choice>', about: `${about}: ${choices.join(', ')}`, group, schema } as const
}

function parseSwitch(text: string): boolean {
  if (text !== 'true' && text !== 'false') throw new Error('use true or false')
  return text === 'true'
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new Error('use a whole number from 1 to 999, such as 3')
  return Number(text)
}

function parseLeaseDuration(text: string): number {
  // One second is how a holder says that it gave the Lease up.
  const ms = parseDuration(text, 2000)
  if (ms % 1000 !== 0) throw new Error(`a Lease counts whole seconds: use ${Math.ceil(ms / 1000)}s`)
  return ms
}

/** Which Lease, and how to reach it. */
export const LEASE_SETTINGS = {
  leaseName: {
    argument: '<name>',
    fallback: 'langflow-leader-lock',
    about: 'the Lease that the replicas compete for',
    group: 'Lease',
    schema: reads(parseObjectName),
  },
  leaseNamespace: {
    argument: '<namespace>',
    otherwise: "the pod's own, else the kubeconfig's",
    about: 'where the Lease is',
    group: 'Lease',
    schema: reads(parseNamespace),
  },
  kubeconfig: {
    argument: '<file>',
    otherwise: 'in-cluster, else $KUBECONFIG, else ~/.kube/config',
    about: 'how to reach the API server',
    group: 'Lease',
    schema: reads(parsePath),
  },
} as const satisfies Record<string, Setting<unknown>>

/** What agent and launcher must agree on, or both want. */
export const SHARED_SETTINGS = {
  socket: {
    argument: '<path>',
    fallback: '/run/langflow-leader/launcher.sock',
    about: 'the unix socket between agent and launcher',
    group: 'LangFlow',
    schema: reads(parseSocket),
  },
  stopTimeout: duration('30s', 0, 'LangFlow', 'from SIGTERM to SIGKILL, where no connection is open'),
  logLevel: { ...choice(LOG_LEVELS, 'Output', 'the least that is logged'), fallback: 'info' },
} as const satisfies Record<string, Setting<unknown>>

export const AGENT_SETTINGS = {
  ...LEASE_SETTINGS,
  identity: {
    argument: '<name>',
    otherwise: '<POD_NAME>_<POD_UID>, else <hostname>_<random>',
    about: "this replica's name in the Lease, which no other may have",
    group: 'Lease',
    schema: reads(parseIdentity),
  },
  preset: {
    ...choice(
      Object.keys(PRESETS) as (keyof typeof PRESETS)[],
      'Timing',
      'the timings that are not set one by one',
    ),
    fallback: 'default',
  },
  leaseDuration: {
    ...preset('leaseDurationMs', "how long a Lease that is not renewed stays its holder's"),
    schema: reads(parseLeaseDuration),
  },
  renewDeadline: preset('renewDeadlineMs', 'without a renewal for so long, leadership is in doubt'),
  retryPeriod: preset('retryPeriodMs', 'between two renewals, or two polls while there is no watch'),
  // The clock that also counts a machine's sleep has steps of 10 ms, and killing takes a moment.
  killMargin: duration('1s', 100, 'Timing', 'how long before the Lease expires LangFlow is killed'),
  onDoubt: {
    ...choice(['freeze', 'stop'], 'Timing', 'what happens to LangFlow while leadership is in doubt'),
    fallback: 'freeze',
  },
  target: {
    argument: '<url>',
    fallback: 'http://127.0.0.1:7860',
    about: 'where LangFlow answers',
    group: 'LangFlow',
    schema: reads(parseTarget),
  },
  stateDir: {
    argument: '<dir>',
    fallback: '/var/lib/langflow-leader',
    about: 'what a restarted agent must know; only its own container may mount it',
    group: 'LangFlow',
    schema: reads(parsePath),
  },
  standby: {
    ...choice(['cold', 'warm'], 'LangFlow', 'what a follower keeps ready'),
    fallback: 'cold',
  },
  spare: {
    argument: '',
    fallback: 'false',
    about: 'keep a warm one also beside the LangFlow that serves, to restart it from: 560 MB more',
    group: 'LangFlow',
    schema: reads(parseSwitch),
  },
  allowOlder: {
    argument: '',
    fallback: 'false',
    about: 'take over also what a newer LangFlow has led: only after a backup from before was restored',
    group: 'LangFlow',
    schema: reads(parseSwitch),
  },
  startTimeout: duration('10m', 1, 'LangFlow', 'from the order to start to the first healthy answer'),
  drainTimeout: duration(
    '5s',
    0,
    'LangFlow',
    'how long a planned stop waits for connections that are open; then they are cut off',
  ),
  healthInterval: duration('1s', 1, 'Health and traffic', 'between two health requests'),
  healthTimeout: duration('2s', 1, 'Health and traffic', 'how long a health request may take'),
  healthFailures: {
    argument: '<count>',
    fallback: '3',
    about: 'failed health requests in a row until LangFlow counts as failed',
    group: 'Health and traffic',
    schema: reads(parseCount),
  },
  onCrash: {
    ...choice(
      ['handover', 'restart'],
      'Health and traffic',
      'what happens when LangFlow fails on the leader',
    ),
    fallback: 'handover',
  },
  peers: {
    argument: '<host:port>',
    otherwise: 'nobody is asked',
    about:
      'where all replicas’ agents answer: with none of them ready, a LangFlow that fails is restarted in place',
    group: 'Health and traffic',
    schema: reads(parsePeers),
  },
  traffic: {
    ...choice(['readiness', 'label', 'slice'], 'Health and traffic', 'how only the leader is reached'),
    fallback: 'readiness',
  },
  endpointSlice: {
    argument: '<name>',
    otherwise: 'langflow-leader; only for --traffic=slice',
    about: "the EndpointSlice that holds the leader's address",
    group: 'Health and traffic',
    schema: reads(parseObjectName),
  },
  listen: {
    argument: '<address>',
    fallback: ':8090',
    about: 'where /readyz, /metrics and the other endpoints answer',
    group: 'Health and traffic',
    schema: reads(parseListen),
  },
  ...SHARED_SETTINGS,
} as const satisfies Record<string, Setting<unknown>>

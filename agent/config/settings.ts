import * as z from 'zod/mini'
import { reads, type Setting } from './setting.ts'
import { PRESETS } from './timings.ts'
import {
  formatDuration,
  parseDuration,
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

// The one schema of all flags of agent, launcher and run: --help, the environment and docs/reference.md come from it.

type Ungrouped = Readonly<Record<string, Omit<Setting<unknown>, 'group'>>>

export function group<const S extends Ungrouped>(
  name: string,
  settings: S,
): { readonly [K in keyof S]: S[K] & { readonly group: string } } {
  const grouped = Object.entries(settings).map(([key, setting]) => [key, { ...setting, group: name }])
  return Object.fromEntries(grouped)
}

function duration(fallback: string, minMs: number, about: string) {
  return {
    argument: '<duration>',
    fallback,
    about,
    schema: reads((text) => parseDuration(text, minMs)),
  } as const
}

/** A duration that `--preset` decides on where it is not set. */
function preset(timing: keyof typeof PRESETS.default, parse: (text: string) => number, about: string) {
  const otherwise = `${formatDuration(PRESETS.default[timing])}; fast: ${formatDuration(PRESETS.fast[timing])}`
  return { argument: '<duration>', otherwise, about, schema: reads(parse) } as const
}

/** The first choice is the default. */
function choice<const T extends readonly [string, ...string[]]>(
  choices: T,
  about: string,
  fallback: T[number] = choices[0],
) {
  return {
    argument: '<choice>',
    fallback,
    about: `${about}: ${choices.join(', ')}`,
    schema: z.enum(choices, `use one of ${choices.join(', ')}`),
  } as const
}

/** Off by default. */
export function onOff(about: string) {
  const schema = z.pipe(
    z.enum(['true', 'false'], 'use true or false'),
    z.transform((text) => text === 'true'),
  )
  return { argument: '', fallback: 'false', about, schema } as const
}

/** What agent and launcher must agree on, or both want. */
export const SHARED_SETTINGS = {
  ...group('LangFlow', {
    socket: {
      argument: '<path>',
      fallback: '/run/langflow-leader/launcher.sock',
      about: 'the unix socket between agent and launcher',
      schema: reads(parseSocket),
    },
    stopTimeoutMs: duration('30s', 0, 'from SIGTERM to SIGKILL, where no connection is open'),
  }),
  ...group('Output', {
    // What pino knows, from all to nothing.
    logLevel: choice(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'the least that is logged',
      'info',
    ),
  }),
}

/** `null`: `--preset` decides. */
export const TIMING_SETTINGS = group('Timing', {
  preset: choice(['default', 'fast'], 'the timings that are not set one by one'),
  leaseDurationMs: preset(
    'leaseDurationMs',
    parseLeaseDuration,
    "how long a Lease that is not renewed stays its holder's",
  ),
  renewDeadlineMs: preset(
    'renewDeadlineMs',
    (text) => parseDuration(text, 1),
    'without a renewal for so long, leadership is in doubt',
  ),
  retryPeriodMs: preset(
    'retryPeriodMs',
    (text) => parseDuration(text, 1),
    'between two renewals, or two polls while there is no watch',
  ),
  // The clock that also counts a machine's sleep has steps of 10 ms, and killing takes a moment.
  killMarginMs: duration('1s', 100, 'how long before the Lease expires LangFlow is killed'),
})

export const AGENT_SETTINGS = {
  ...group('Lease', {
    leaseName: {
      argument: '<name>',
      fallback: 'langflow-leader-lock',
      about: 'the Lease that the replicas compete for',
      schema: reads(parseObjectName),
    },
    leaseNamespace: {
      argument: '<namespace>',
      otherwise: "the pod's own, else the kubeconfig's",
      about: 'where the Lease is',
      schema: reads(parseNamespace),
    },
    kubeconfig: {
      argument: '<file>',
      otherwise: 'in-cluster, else $KUBECONFIG, else ~/.kube/config',
      about: 'how to reach the API server',
      schema: reads(parsePath),
    },
    identity: {
      argument: '<name>',
      otherwise: '<POD_NAME>_<POD_UID>, else <hostname>_<random>',
      about: "this replica's name in the Lease, which no other may have",
      schema: reads(parseIdentity),
    },
  }),
  ...TIMING_SETTINGS,
  ...group('Timing', {
    onDoubt: choice(['freeze', 'stop'], 'what happens to LangFlow while leadership is in doubt'),
  }),
  ...group('LangFlow', {
    target: {
      argument: '<url>',
      fallback: 'http://127.0.0.1:7860',
      about: 'where LangFlow answers',
      schema: reads(parseTarget),
    },
    stateDir: {
      argument: '<dir>',
      fallback: '/var/lib/langflow-leader',
      about: 'what a restarted agent must know; only its own container may mount it',
      schema: reads(parsePath),
    },
    standby: choice(['cold', 'warm'], 'what a follower keeps ready'),
    spare: onOff('keep a warm one also beside the LangFlow that serves, to restart it from: 580 MB more'),
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
    healthFailures: {
      argument: '<count>',
      fallback: '3',
      about: 'failed health requests in a row until LangFlow counts as failed',
      schema: z.pipe(
        z.string().check(z.regex(/^[1-9]\d{0,2}$/, 'use a whole number from 1 to 999, such as 3')),
        z.transform(Number),
      ),
    },
    onCrash: choice(['handover', 'restart'], 'what happens when LangFlow fails on the leader'),
    peers: {
      argument: '<host:port>',
      otherwise: 'nobody is asked',
      about:
        'where all replicas’ agents answer: with none of them ready, a LangFlow that fails is restarted in place',
      schema: reads(parsePeers),
    },
    traffic: choice(['readiness', 'label', 'slice'], 'how only the leader is reached'),
    endpointSlice: {
      argument: '<name>',
      otherwise: 'langflow-leader; only for --traffic=slice',
      about: "the EndpointSlice that holds the leader's address",
      schema: reads(parseObjectName),
    },
    listen: {
      argument: '<address>',
      fallback: ':8090',
      about: 'where /readyz, /metrics and the other endpoints answer',
      schema: reads(parseListen),
    },
  }),
  ...SHARED_SETTINGS,
}

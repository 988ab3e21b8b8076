import { resolve } from 'node:path'
import type { Command } from 'commander'
import { AGENT_SETTINGS } from '../config/agent-settings.ts'
import {
  addFlags,
  choice,
  flagOf,
  group,
  onOff,
  optional,
  readFlags,
  type Values,
} from '../config/setting.ts'

// What every command that operates is told, in the same words: `readFlags(command, { ...CLUSTER_SETTINGS, … })`.

/** Which Lease, and with whose rights. */
export const CLUSTER_SETTINGS = group('Cluster', {
  leaseName: AGENT_SETTINGS.leaseName,
  leaseNamespace: {
    ...optional(
      '<namespace>',
      "the kubeconfig's, or the pod's own",
      AGENT_SETTINGS.leaseNamespace.about,
      AGENT_SETTINGS.leaseNamespace.parse,
    ),
    short: '-n',
  },
  kubeconfig: optional(
    '<file>',
    AGENT_SETTINGS.kubeconfig.otherwise,
    AGENT_SETTINGS.kubeconfig.about,
    // Typed by a person in a directory, other than an agent's.
    (text) => resolve(text),
  ),
  context: optional('<name>', 'the current one', 'which context of the kubeconfig', (text) => text),
})

/** The same, for what asks both the Lease and the replicas. */
export const OPERATE_SETTINGS = {
  ...CLUSTER_SETTINGS,
  ...group('Cluster', {
    url: optional(
      '<url>',
      'each pod is asked through the API server',
      "one replica's agent, which tells of itself and its peers, where the API server cannot reach the pods",
      parseUrl,
    ),
  }),
}

/** How the answer is printed. */
export const OUTPUT_SETTINGS = group('Output', {
  output: {
    ...choice(['table', 'json', 'yaml'], 'how it is printed: for people, or for programs'),
    short: '-o',
  },
})

const SOURCE_SETTINGS = {
  ...CLUSTER_SETTINGS,
  ...group('Cluster', {
    url: optional(
      '<url>',
      'the cluster is asked',
      "one replica's agent, which tells of itself and its peers, instead of a cluster",
      parseUrl,
    ),
  }),
}

const STATUS_SETTINGS = {
  ...SOURCE_SETTINGS,
  ...group('Output', {
    output: {
      ...choice(
        ['table', 'wide', 'json', 'yaml'],
        'how it is printed: for people, with every column in full, or for programs',
      ),
      short: '-o',
    },
    watch: {
      ...onOff('again every 2 s until Ctrl-C'),
      short: '-w',
    },
  }),
}

const HISTORY_SETTINGS = { ...SOURCE_SETTINGS, ...OUTPUT_SETTINGS }

export type StatusOptions = Values<typeof STATUS_SETTINGS>
export type HistoryOptions = Values<typeof HISTORY_SETTINGS>

type Reader<Options> = () => Options

// Each adds the flags to its command, and returns what reads them: it ends with a usage error where something is wrong.

export function statusOptions(command: Command): Reader<StatusOptions> {
  addFlags(command, STATUS_SETTINGS)
  return () => fromOnePlace(command, readFlags(command, STATUS_SETTINGS))
}

export function historyOptions(command: Command): Reader<HistoryOptions> {
  addFlags(command, HISTORY_SETTINGS)
  return () => fromOnePlace(command, readFlags(command, HISTORY_SETTINGS))
}

function fromOnePlace<T extends { readonly url: URL | null }>(command: Command, said: T): T {
  const useless = Object.keys(CLUSTER_SETTINGS).find((key) => command.getOptionValue(key) !== undefined)
  if (said.url !== null && useless !== undefined)
    command.error(`${flagOf(useless)} means nothing to --url, which asks no cluster: leave one out`)
  return said
}

function parseUrl(text: string): URL {
  const url = URL.parse(text)
  if (url !== null && /^https?:$/.test(url.protocol)) return url
  throw new Error('write it as an http or https URL, such as http://127.0.0.1:8090')
}

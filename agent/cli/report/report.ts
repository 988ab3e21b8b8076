import { stripVTControlCharacters } from 'node:util'
import { stringify } from 'yaml'
import type { Clock } from '../../clock.ts'
import { oneLine } from '../../exit.ts'
import { type Kind, type KubeObject, type KubeObjects, POD } from '../../kube/kube-objects.ts'
import { LEASE } from '../../lease/lease-api.ts'
import { VERSION } from '../../version.ts'
import { DEADLINE_MS } from '../api-connection.ts'
import { matches } from '../check/installation.ts'
import { historyTable } from '../history-table.ts'
import { agentOf } from '../manifests/agent-container.ts'
import { asFields, asList, asText, dig, type Fields, isFields } from '../manifests/manifest.ts'
import type { Source } from '../overview.ts'
import { statusTable } from '../status-table.ts'
import { KnownSecrets } from './known-secrets.ts'
import { withoutSecrets } from './manifest-redaction.ts'

/** What a report is made of. Each may fail without the others. */
export interface Reading {
  readonly leaseName: string
  readonly objects: Pick<KubeObjects, 'namespace' | 'list' | 'get' | 'logs'>
  /** Status and history. */
  readonly source: Pick<Source, 'overview' | 'history'>
  /** The result of `check`, as text. */
  readonly check: () => Promise<string>
  readonly clock: Clock
  /** Whether LangFlow's own lines are included. */
  readonly langflowLogs: boolean
}

export interface Report {
  readonly text: string
  /** Why a part is missing or incomplete, each in one sentence. */
  readonly missing: readonly string[]
  readonly parts: number
}

/** A section of a report. */
interface Part {
  readonly title: string
  readonly text: string
}

/** Deadline of one part, in milliseconds. `check` sends several dozen requests. */
const PART_MS = 15_000
/** The last lines of each container. */
const LINES = 500
const MOST_EVENTS = 200

const EVENT: Kind = { kind: 'Event', resource: 'events', base: '/api/v1' }
const SECRET: Kind = { kind: 'Secret', resource: 'secrets', base: '/api/v1' }
const WORKLOADS: readonly Kind[] = [
  { kind: 'Deployment', resource: 'deployments.apps', base: '/apis/apps/v1' },
  { kind: 'StatefulSet', resource: 'statefulsets.apps', base: '/apis/apps/v1' },
]
/** Objects that select pods, and their label selector. */
const SELECTING: readonly [kind: Kind, selectorOf: (object: KubeObject) => unknown][] = [
  [
    { kind: 'Service', resource: 'services', base: '/api/v1' },
    ({ spec }) => dig(spec, 'selector') && { matchLabels: dig(spec, 'selector') },
  ],
  [
    {
      kind: 'NetworkPolicy',
      resource: 'networkpolicies.networking.k8s.io',
      base: '/apis/networking.k8s.io/v1',
    },
    ({ spec }) => dig(spec, 'podSelector'),
  ],
  [
    { kind: 'PodDisruptionBudget', resource: 'poddisruptionbudgets.policy', base: '/apis/policy/v1' },
    ({ spec }) => dig(spec, 'selector'),
  ],
]

const HEAD = `Values that may be secret are removed: the data of Secrets and ConfigMaps, variables and arguments of unknown meaning,
annotations of other programs, passwords in URLs and images, queries of probes, tokens, and the key of the fronts. The values of the Secrets that the pods
name are also removed from logs, Events and messages, if you may read the Secrets. Values shorter than 6 characters, and plain
words of at most 10 letters, are removed from manifests only.`
const WITHOUT_LANGFLOW =
  "LangFlow's own log lines are not included: they may contain prompts, keys and values of an env file."
const WITH_LANGFLOW =
  "LangFlow's own log lines are included. They may contain prompts, keys and values of an env file that the command cannot recognise."

/** Reads everything that a colleague needs to understand an installation, without secrets. Never rejects for a part that fails. */
export async function makeReport(reading: Reading): Promise<Report> {
  const { objects, leaseName, clock, langflowLogs, source } = reading
  const { namespace } = objects
  const secrets = new KnownSecrets()
  const missing: string[] = []
  const attempt = async <T>(what: string, read: () => Promise<T>): Promise<T | null> => {
    const late = Promise.withResolvers<never>()
    const error = new Error(`no result within ${PART_MS / 1000} s`)
    const timer = clock.after(PART_MS, () => late.reject(error))
    try {
      return await Promise.race([read(), late.promise])
    } catch (error) {
      missing.push(`${what}: ${oneLine((error as Error).message)}`)
      return null
    } finally {
      timer.cancel()
    }
  }
  const part = async (title: string, read: () => Promise<string>): Promise<Part[]> => {
    const text = await attempt(`${title} could not be read`, read)
    return text === null ? [] : [{ title, text }]
  }
  const pods = (await attempt('the list of pods could not be read', () => replicas(reading))) ?? []
  await readSecrets(objects, pods, secrets, attempt)
  const parts = await Promise.all([
    part('status', async () => {
      const overview = await source.overview()
      return `${statusTable(overview, clock.now().wall, true)}\n${JSON.stringify(overview, null, 2)}\n`
    }),
    part('history', async () => historyTable(await source.history(), clock.now().wall)),
    part('check', reading.check),
    part('Events', () => events(objects, [leaseName, ...pods.map(({ metadata }) => metadata.name)])),
    part('Lease', async () => yamlOf(LEASE, await objects.get(LEASE, leaseName, DEADLINE_MS))),
    ...pods.map(async (pod) => [{ title: `Pod/${pod.metadata.name}`, text: yamlOf(POD, pod) }]),
    ...WORKLOADS.map((kind) => listed(objects, kind, isWorkload, attempt)),
    ...SELECTING.map(([kind, selectorOf]) =>
      listed(objects, kind, (one) => selectsOne(selectorOf(one), pods), attempt),
    ),
    ...pods.map((pod) => logs(objects, pod, langflowLogs, attempt)),
  ])
  const all = parts.flat()
  const about = [
    `langflow-leader report of the Lease ${namespace}/${leaseName}`,
    `${new Date(clock.now().wall).toISOString()}, langflow-leader ${VERSION}`,
    `${HEAD}\n${langflowLogs ? WITH_LANGFLOW : WITHOUT_LANGFLOW} Read the file before you share it.`,
    missing.length === 0 ? 'No part is missing.' : missing.join('\n'),
  ]
  const sections = all.map(({ title, text }) => `===== ${title} =====\n\n${text.trimEnd()}\n`)
  const text = stripVTControlCharacters([`${about.join('\n\n')}\n`, ...sections].join('\n'))
  return { text: secrets.redact(text), missing: missing.map((one) => secrets.redact(one)), parts: all.length }
}

type Attempt = <T>(what: string, read: () => Promise<T>) => Promise<T | null>

async function replicas({ objects, leaseName }: Reading): Promise<KubeObject[]> {
  const pods = await objects.list(POD, DEADLINE_MS)
  return pods.filter((pod) => {
    const agent = agentOf(pod)
    return agent !== null && (agent.leaseName ?? leaseName) === leaseName
  })
}

/** Reads the Secrets that the pods name, only to remove their values from the texts. */
async function readSecrets(
  objects: Reading['objects'],
  pods: readonly KubeObject[],
  secrets: KnownSecrets,
  attempt: Attempt,
): Promise<void> {
  const named = new Set(pods.flatMap(({ spec }) => secretNames(spec)))
  for (const pod of pods) secrets.addPod(pod)
  await Promise.all(
    [...named].map(async (name) => {
      const secret = await attempt(
        `the values of the Secret "${name}" could not be removed from logs, Events and messages`,
        () => objects.get(SECRET, name, DEADLINE_MS),
      )
      if (secret !== null) secrets.addSecret(secret)
    }),
  )
}

/** The names of the Secrets anywhere in a pod's spec. */
function secretNames(spec: unknown): string[] {
  if (Array.isArray(spec)) return spec.flatMap(secretNames)
  if (typeof spec !== 'object' || spec === null) return []
  return Object.entries(spec).flatMap(([key, value]) => {
    if (key === 'secretName') return [asText(value)]
    const own = key.startsWith('secret') ? asText(asFields(value).name) : ''
    return [...(own === '' ? [] : [own]), ...secretNames(value)]
  })
}

async function listed(
  objects: Reading['objects'],
  kind: Kind,
  isWanted: (object: KubeObject) => boolean,
  attempt: Attempt,
): Promise<Part[]> {
  const all = await attempt(`the list of ${kind.resource} could not be read`, () =>
    objects.list(kind, DEADLINE_MS),
  )
  return (all ?? []).filter(isWanted).map((one) => {
    return { title: `${kind.kind}/${one.metadata.name}`, text: yamlOf(kind, one) }
  })
}

/** Whether its pods have an agent. */
function isWorkload({ metadata, spec }: KubeObject): boolean {
  return agentOf({ metadata, spec: dig(spec, 'template', 'spec') }) !== null
}

/** Whether a selector matches one of the pods. `undefined` selects none. */
function selectsOne(selector: unknown, pods: readonly KubeObject[]): boolean {
  return selector !== undefined && pods.some(({ metadata }) => matches(selector, metadata.labels ?? {}))
}

function yamlOf({ kind }: Kind, object: KubeObject): string {
  return stringify(withoutSecrets({ kind, ...object } as Fields), { lineWidth: 0 })
}

/** The last Events on these objects and on those whose names begin with theirs, oldest first. */
async function events(objects: Reading['objects'], names: readonly string[]): Promise<string> {
  const all = (await objects.list(EVENT, DEADLINE_MS)).map((one) => {
    const { kind, name } = asFields(one.involvedObject)
    const at = asText(one.lastTimestamp) || asText(one.eventTime) || asText(one.metadata.creationTimestamp)
    const times = Number(one.count ?? 1) > 1 ? ` (${one.count} times)` : ''
    const words = [at, asText(one.type), asText(one.reason), `${kind}/${name}`, asText(one.message) + times]
    return { at, name: asText(name), line: oneLine(words.join('  ')) }
  })
  // The names of a Deployment and of its ReplicaSet are the beginning of the names of their pods.
  const isOurs = (name: string) => names.some((one) => one === name || one.startsWith(`${name}-`))
  const ours = names.length > 1 ? all.filter(({ name }) => isOurs(name)) : all
  const lines = ours.toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at)).map(({ line }) => line)
  return lines.length === 0 ? 'none\n' : `${lines.slice(-MOST_EVENTS).join('\n')}\n`
}

/** The logs of a pod's agent and launcher, also of their last run. */
async function logs(
  objects: Reading['objects'],
  { metadata: { name }, spec, status }: KubeObject,
  langflowLogs: boolean,
  attempt: Attempt,
): Promise<Part[]> {
  const states = ['initContainerStatuses', 'containerStatuses'].flatMap((key) => asList(dig(status, key)))
  const restarted = new Set(
    states.flatMap((state) => (Number(dig(state, 'restartCount')) > 0 ? [asText(dig(state, 'name'))] : [])),
  )
  const containers = ['initContainers', 'containers'].flatMap((key) => asList(dig(spec, key)))
  const runs = containers.flatMap((container) => {
    const own = { container: asText(dig(container, 'name')), lines: LINES }
    const last = { ...own, previous: false }
    return restarted.has(own.container) ? [{ ...own, previous: true }, last] : [last]
  })
  const parts = runs.map(async (run): Promise<Part[]> => {
    const title = `log of ${name}/${run.container}${run.previous ? ', its previous run' : ''}`
    const log = await attempt(`${title} could not be read`, () => objects.logs(name, run, DEADLINE_MS))
    if (log === null) return []
    const all = log.split('\n').filter((line) => line !== '')
    const lines = all.filter(isOwnLine)
    const others = all.length - lines.length
    // Other containers of the pod are not part of a report.
    if (lines.length === 0) return []
    const left = others === 0 || langflowLogs ? '' : `${others} lines of LangFlow or others are left out.\n`
    return [{ title, text: `${left}${langflowLogs ? log : lines.join('\n')}` }]
  })
  return (await Promise.all(parts)).flat()
}

/**
 * Whether the agent, the launcher or a front wrote a line, in the form of `createLog`: these fields come first, in this order.
 * LangFlow's own lines, which may contain prompts, keys and values of an env file, pass through the launcher unchanged.
 */
function isOwnLine(line: string): boolean {
  if (!/^\{"level":"\w+","time":"[\d:.TZ-]+","component":"(agent|launcher|front)",/.test(line)) return false
  try {
    const fields: unknown = JSON.parse(line)
    return isFields(fields) && asText(fields.msg) !== ''
  } catch {
    return false
  }
}

import { stripVTControlCharacters } from 'node:util'
import type { V1Container, V1ContainerStatus, V1PodSpec, V1PodStatus } from '@kubernetes/client-node'
import { stringify } from 'yaml'
import type { Clock } from '../../clock.ts'
import { AGENT_SETTINGS, CONTENT_SETTINGS, SHARED_SETTINGS } from '../../config/agent-settings.ts'
import { flagOf, type Settings, variableOf } from '../../config/setting.ts'
import { oneLine } from '../../exit.ts'
import { type Kind, type KubeObject, type KubeObjects, POD } from '../../kube/kube-objects.ts'
import { LEASE } from '../../lease/lease-api.ts'
import {
  LAST_DRILL,
  PAUSE_REASON,
  PAUSED,
  PAUSED_UNTIL,
  REQUEST_REASON,
  REQUESTS,
} from '../../lease/operator-annotations.ts'
import { redactText } from '../../redaction.ts'
import { VERSION } from '../../version.ts'
import { DEADLINE_MS } from '../api-connection.ts'
import { historyTable } from '../history-table.ts'
import { agentOf } from '../manifests/agent-container.ts'
import { asFields, asText, type Fields, isFields } from '../manifests/manifest.ts'
import type { Source } from '../overview.ts'
import { statusTable } from '../status-table.ts'

// A report shows only what langflow-leader itself has written: its status, its annotations, its settings and its log lines. Of all other
// objects it shows names, kinds, states and counts. A value that is not on a list below does not appear.

export interface Reading {
  readonly leaseName: string
  readonly objects: Pick<KubeObjects, 'namespace' | 'list' | 'get' | 'logs'>
  readonly source: Pick<Source, 'overview' | 'history'>
  readonly clock: Pick<Clock, 'now'>
}

export interface Report {
  readonly text: string
  /** Why a part is missing or incomplete, each in one sentence. */
  readonly missing: readonly string[]
  readonly parts: number
  /** The first error, if there is one. */
  readonly failure: unknown
}

/** The last lines of each container, and the last Events. */
const MOST_LINES = 500
const MOST_EVENTS = 200

const EVENT: Kind = { kind: 'Event', resource: 'events', base: '/api/v1' }
const LISTED: readonly Kind[] = [
  { kind: 'Deployment', resource: 'deployments.apps', base: '/apis/apps/v1' },
  { kind: 'StatefulSet', resource: 'statefulsets.apps', base: '/apis/apps/v1' },
  { kind: 'Service', resource: 'services', base: '/api/v1' },
  {
    kind: 'NetworkPolicy',
    resource: 'networkpolicies.networking.k8s.io',
    base: '/apis/networking.k8s.io/v1',
  },
  { kind: 'PodDisruptionBudget', resource: 'poddisruptionbudgets.policy', base: '/apis/policy/v1' },
]

const OWN_SETTINGS: Settings = { ...AGENT_SETTINGS, ...CONTENT_SETTINGS, ...SHARED_SETTINGS }
/** The settings of the product by their flags, and the flags by their variables. */
const FLAGS = new Map(Object.entries(OWN_SETTINGS).map(([key, one]) => [one.long ?? flagOf(key), one]))
const VARIABLES = new Set([...FLAGS.keys()].map(variableOf))
/** The annotations whose values the report shows. Others are named. */
const NOTES = [...Object.values(REQUESTS), REQUEST_REASON, PAUSED, PAUSED_UNTIL, PAUSE_REASON, LAST_DRILL]
const LOG_FIELDS =
  'level,time,component,identity,epoch,event,code,reason,msg,times,lasted,durationMs,successor,mode,pid,port'.split(
    ',',
  )

const HEAD =
  'Only the fields that langflow-leader itself writes are shown, and the names, states and counts of other objects. Read the file before you share it.'

/** Reads all parts. Never rejects for a part that cannot be read. */
export async function makeReport({ objects, leaseName, source, clock }: Reading): Promise<Report> {
  const missing: string[] = []
  let failure: unknown
  const attempt = async <T>(what: string, read: () => Promise<T>): Promise<T | null> =>
    read().catch((error: Error) => {
      failure ??= error
      missing.push(redactText(`${what} could not be read: ${oneLine(error.message)}`))
      return null
    })
  const part = async (title: string, read: () => Promise<string>): Promise<string[]> => {
    const text = await attempt(title, read)
    return text === null || text === '' ? [] : [`===== ${title} =====\n\n${text.trimEnd()}\n`]
  }
  const pods = (await attempt('the list of pods', () => podsOf(objects, leaseName))) ?? []
  const parts = await Promise.all([
    part('status', async () => {
      const overview = await source.overview()
      return `${statusTable(overview, clock.now().wall, true)}\n${JSON.stringify(overview, null, 2)}`
    }),
    part('history', async () => historyTable(await source.history(), clock.now().wall)),
    part('Lease', async () => yamlOf(leaseFacts(await objects.get(LEASE, leaseName, DEADLINE_MS)))),
    ...pods.map((pod) => part(`Pod/${pod.metadata.name}`, async () => yamlOf(podFacts(pod)))),
    ...LISTED.map((kind) =>
      part(`${kind.kind}s`, async () => (await objects.list(kind, DEADLINE_MS)).map(objectLine).join('\n')),
    ),
    part('Events', () => events(objects, [leaseName, ...pods.map(({ metadata }) => metadata.name)])),
    ...pods.flatMap((pod) =>
      runsOf(pod).map(({ title, ...run }) =>
        part(title, async () => ownLines(await objects.logs(pod.metadata.name, run, DEADLINE_MS))),
      ),
    ),
  ])
  const all = parts.flat()
  const at = new Date(clock.now().wall).toISOString()
  const about = [
    `langflow-leader report of the Lease ${objects.namespace}/${leaseName}`,
    `${at}, langflow-leader ${VERSION}`,
    HEAD,
    missing.length === 0 ? 'No part is missing.' : missing.join('\n'),
  ]
  const text = stripVTControlCharacters([`${about.join('\n\n')}\n`, ...all].join('\n'))
  return { text: redactText(text), missing, parts: all.length, failure }
}

async function podsOf(objects: Reading['objects'], leaseName: string): Promise<KubeObject[]> {
  const pods = await objects.list(POD, DEADLINE_MS)
  return pods.filter((pod) => {
    const agent = agentOf(pod)
    return agent !== null && (agent.leaseName ?? leaseName) === leaseName
  })
}

function leaseFacts({ metadata, spec }: KubeObject): object {
  const notes = Object.entries(asFields(metadata.annotations))
  return {
    created: metadata.creationTimestamp,
    ...pick(asFields(spec), [
      'holderIdentity',
      'leaseTransitions',
      'leaseDurationSeconds',
      'acquireTime',
      'renewTime',
    ]),
    annotations: pick(Object.fromEntries(notes), NOTES),
    otherAnnotations: notes.map(([name]) => name).filter((name) => !(NOTES as string[]).includes(name)),
  }
}

function podFacts(pod: KubeObject): object {
  const { nodeName } = (pod.spec ?? {}) as Partial<V1PodSpec>
  const { phase } = (pod.status ?? {}) as V1PodStatus
  return { node: nodeName, phase, containers: containersOf(pod).map(containerFacts) }
}

/** The containers of a pod, each with its status. */
function containersOf({
  spec,
  status,
}: KubeObject): (V1Container & { status?: V1ContainerStatus | undefined })[] {
  const { initContainers = [], containers = [] } = (spec ?? {}) as Partial<V1PodSpec>
  const { initContainerStatuses = [], containerStatuses = [] } = (status ?? {}) as V1PodStatus
  const states = [...initContainerStatuses, ...containerStatuses]
  return [...initContainers, ...containers].map((one) => {
    return { ...one, status: states.find(({ name }) => name === one.name) }
  })
}

function containerFacts({
  name,
  command = [],
  args = [],
  env = [],
  status,
}: ReturnType<typeof containersOf>[number]) {
  const { ready, restartCount: restarts, state = {}, lastState = {} } = status ?? {}
  const ended = [state.waiting, state.terminated, lastState.terminated].flatMap((one) => one?.reason ?? [])
  // The words after `--` are the command of LangFlow.
  const [words = []] = [[...command, ...args, '--']].map((all) => all.slice(0, all.indexOf('--')))
  const flags = words.flatMap((word, at) => {
    const [flag = '', value = words[at + 1]] = word.split(/=(.*)/s, 2)
    const own = FLAGS.get(flag)
    return own === undefined ? [] : own.argument === '' ? [word] : [`${flag}=${value}`]
  })
  const own = env.filter(({ name }) => VARIABLES.has(name))
  const variables = own.map(
    (one) => `${one.name}=${one.valueFrom ? 'from another object' : (one.value ?? '')}`,
  )
  const otherVariables = env.filter((one) => !own.includes(one)).map(({ name }) => name)
  return { name, ready, restarts, reasons: ended, flags, variables, otherVariables }
}

/** `langflow, 2 of 3 replicas are ready` */
function objectLine({ metadata: { name }, spec, status }: KubeObject): string {
  const { replicas } = asFields(spec)
  return replicas === undefined
    ? name
    : `${name}, ${asFields(status).readyReplicas ?? 0} of ${replicas} replicas are ready`
}

/** The last Events on these objects, oldest first. Their messages are another program's, and are left out. */
async function events(objects: Reading['objects'], names: readonly string[]): Promise<string> {
  const all = (await objects.list(EVENT, DEADLINE_MS)).flatMap((one) => {
    const { kind, name } = asFields(one.involvedObject)
    const at = asText(one.lastTimestamp) || asText(one.eventTime) || asText(one.metadata.creationTimestamp)
    const words = [at, asText(one.type), asText(one.reason), `${kind}/${name}`, `${one.count ?? 1} times`]
    return names.includes(asText(name)) ? [{ at, line: oneLine(words.join('  ')) }] : []
  })
  const lines = all.toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at)).map(({ line }) => line)
  return lines.slice(-MOST_EVENTS).join('\n')
}

/** The runs of a pod's containers: the present one, and the last one before a restart. */
function runsOf(pod: KubeObject) {
  return containersOf(pod).flatMap(({ name: container, status }) => {
    const title = `log of ${pod.metadata.name}/${container}`
    const run = { title, container, lines: MOST_LINES, previous: false }
    const before = { ...run, title: `${title}, its previous run`, previous: true }
    return (status?.restartCount ?? 0) > 0 ? [before, run] : [run]
  })
}

/** The lines that an agent, a launcher or a front wrote by `createLog`. LangFlow's own lines pass through the launcher unchanged. */
function ownLines(log: string): string {
  const lines = log.split('\n').flatMap((line) => {
    if (!/^\{"level":"\w+","time":"[\d:.TZ-]+","component":"(agent|launcher|front)",/.test(line)) return []
    try {
      const fields: unknown = JSON.parse(line)
      return isFields(fields) ? [JSON.stringify(pick(fields, LOG_FIELDS))] : []
    } catch {
      return []
    }
  })
  return lines.join('\n')
}

function pick(fields: Readonly<Fields>, names: readonly string[]): Fields {
  return Object.fromEntries(
    names.flatMap((name) => (fields[name] === undefined ? [] : [[name, fields[name]]])),
  )
}

function yamlOf(facts: object): string {
  return stringify(facts, { lineWidth: 0 })
}

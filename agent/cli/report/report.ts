import { stripVTControlCharacters } from 'node:util'
import type { V1Container, V1ContainerStatus, V1PodSpec, V1PodStatus } from '@kubernetes/client-node'
import { stringify } from 'yaml'
import type { Clock } from '../../clock.ts'
import { API_KEY } from '../../config/command-line.ts'
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
import { agentOf, programOf } from '../manifests/agent-container.ts'
import { asFields, asText, type Fields, isFields } from '../manifests/manifest.ts'
import type { Source } from '../overview.ts'
import { statusTable } from '../status-table.ts'

// A report shows only what langflow-leader itself has written: its status, its annotations, its settings and its log lines. Of other
// objects it shows names, reasons and counts. A value that is not on a list below does not appear.

export interface Reading {
  readonly leaseName: string
  readonly objects: Pick<KubeObjects, 'namespace' | 'list' | 'get' | 'logs'>
  readonly source: Pick<Source, 'overview' | 'history'>
  readonly clock: Pick<Clock, 'now'>
}

export interface Report {
  readonly text: string
  readonly parts: number
  /** Why a part is missing. */
  readonly failures: readonly Error[]
}

const MOST_LINES = 500
const MOST_EVENTS = 200
const EVENT: Kind = { kind: 'Event', resource: 'events', base: '/api/v1' }
const LEASE_FIELDS = [
  'holderIdentity',
  'leaseTransitions',
  'leaseDurationSeconds',
  'acquireTime',
  'renewTime',
]
const NOTES = [...Object.values(REQUESTS), REQUEST_REASON, PAUSED, PAUSED_UNTIL, PAUSE_REASON, LAST_DRILL]
const LOG_FIELDS =
  'level,time,component,identity,epoch,event,code,reason,msg,times,lasted,durationMs,successor,mode,pid,port'.split(
    ',',
  )
const HEAD =
  'Only the fields that langflow-leader itself writes are shown, and names, reasons and counts. Read the file before you share it.'

/** Reads all parts. Never rejects for a part that cannot be read. */
export async function makeReport({ objects, leaseName, source, clock }: Reading): Promise<Report> {
  const failures: Error[] = []
  const attempt = async <T>(what: string, read: () => Promise<T>): Promise<T | null> =>
    read().catch((error: Error) => {
      error.message = redactText(`${what} could not be read: ${oneLine(error.message)}`)
      failures.push(error)
      return null
    })
  const part = async (title: string, read: () => Promise<string>): Promise<string[]> => {
    const text = await attempt(title, read)
    return text ? [`===== ${title} =====\n\n${text.trimEnd()}\n`] : []
  }
  const listed = (await attempt('the list of pods', () => objects.list(POD, DEADLINE_MS))) ?? []
  const pods = listed.filter(
    (pod) => (agentOf(pod)?.leaseName ?? leaseName) === leaseName && agentOf(pod) !== null,
  )
  const names = [leaseName, ...pods.map(({ metadata }) => metadata.name)]
  const parts = await Promise.all([
    part('status', async () => {
      const overview = await source.overview()
      return `${statusTable(overview, clock.now().wall, true)}\n${JSON.stringify(overview, null, 2)}`
    }),
    part('history', async () => historyTable(await source.history(), clock.now().wall)),
    part('Lease', async () => stringify(leaseFacts(await objects.get(LEASE, leaseName, DEADLINE_MS)))),
    ...pods.map((pod) => part(`Pod/${pod.metadata.name}`, async () => stringify(podFacts(pod)))),
    part('Events', async () => eventLines(await objects.list(EVENT, DEADLINE_MS), names)),
    ...pods.flatMap((pod) =>
      containersOf(pod).flatMap(({ container, status }) =>
        [status?.restartCount ? true : [], false].flat().map((previous) => {
          const { name } = pod.metadata
          const title = `log of ${name}/${container.name}${previous ? ', its previous run' : ''}`
          const run = { container: container.name, lines: MOST_LINES, previous }
          return part(title, async () => ownLines(await objects.logs(name, run, DEADLINE_MS)))
        }),
      ),
    ),
  ])
  const all = parts.flat()
  const about = [
    `langflow-leader report of the Lease ${objects.namespace}/${leaseName}`,
    `${new Date(clock.now().wall).toISOString()}, langflow-leader ${VERSION}`,
    HEAD,
    failures.length === 0 ? 'No part is missing.' : failures.map(({ message }) => message).join('\n'),
  ]
  const text = stripVTControlCharacters([`${about.join('\n\n')}\n`, ...all].join('\n'))
  return { text: redactText(text), parts: all.length, failures }
}

function leaseFacts({ metadata, spec }: KubeObject): object {
  const notes = asFields(metadata.annotations)
  const annotations = Object.keys(notes).map((name) =>
    NOTES.includes(name) ? `${name}=${notes[name]}` : name,
  )
  return { ...pick(asFields(spec), LEASE_FIELDS), annotations }
}

function podFacts(pod: KubeObject): object {
  const { phase } = asFields(pod.status)
  return { node: asFields(pod.spec).nodeName, phase, containers: containersOf(pod).map(containerFacts) }
}

interface StartedContainer {
  readonly container: V1Container
  readonly status: V1ContainerStatus | undefined
}

function containersOf({ spec, status }: KubeObject): StartedContainer[] {
  const { initContainers = [], containers = [] } = (spec ?? {}) as Partial<V1PodSpec>
  const { initContainerStatuses = [], containerStatuses = [] } = (status ?? {}) as V1PodStatus
  const states = [...initContainerStatuses, ...containerStatuses]
  return [...initContainers, ...containers].map((container) => {
    return { container, status: states.find(({ name }) => name === container.name) }
  })
}

function containerFacts({ container, status }: StartedContainer): object {
  const { ready, restartCount: restarts, state = {}, lastState = {} } = status ?? {}
  const reasons = [state.waiting, state.terminated, lastState.terminated].flatMap((one) => one?.reason ?? [])
  // The words after `--` are the command of LangFlow.
  const words = [...(programOf({ ...container })?.args ?? []), '--']
  const variables = (container.env ?? []).map(({ name, value = 'from another object' }) =>
    name.startsWith('LEADER_') && name !== API_KEY ? `${name}=${value}` : name,
  )
  return {
    name: container.name,
    ready,
    restarts,
    reasons,
    args: words.slice(0, words.indexOf('--')),
    variables,
  }
}

/** The last Events on these objects, oldest first. Their messages are another program's, and are left out. */
function eventLines(all: readonly KubeObject[], names: readonly string[]): string {
  const ours = all.flatMap((one) => {
    const { kind, name } = asFields(one.involvedObject)
    const at = asText(one.lastTimestamp) || asText(one.eventTime) || asText(one.metadata.creationTimestamp)
    const words = [at, asText(one.type), asText(one.reason), `${kind}/${name}`, `${one.count ?? 1} times`]
    return names.includes(asText(name)) ? [{ at, line: oneLine(words.join('  ')) }] : []
  })
  const sorted = ours.toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at))
  return sorted
    .slice(-MOST_EVENTS)
    .map(({ line }) => line)
    .join('\n')
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

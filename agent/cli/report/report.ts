import { writeFile } from 'node:fs/promises'
import type { V1Container, V1PodSpec, V1PodStatus } from '@kubernetes/client-node'
import { type Clock, systemClock } from '../../clock.ts'
import { API_KEY } from '../../config/command-line.ts'
import type { Values } from '../../config/setting.ts'
import { reasonOf } from '../../errno.ts'
import { FatalError, oneLine } from '../../exit.ts'
import type { ApiError } from '../../kube/kube-errors.ts'
import { type KubeObject, type KubeObjects, POD } from '../../kube/kube-objects.ts'
import { LEASE } from '../../lease/lease-api.ts'
import { LAST_DRILL, PAUSE_ANNOTATIONS } from '../../lease/operator-annotations.ts'
import { REQUEST_ANNOTATIONS } from '../../lease/written-lease.ts'
import { EVENTS } from '../../observe/log.ts'
import { redactText } from '../../redaction.ts'
import { VERSION } from '../../version.ts'
import { DEADLINE_MS } from '../api-connection.ts'
import { kindOf } from '../check/validation.ts'
import { Cluster } from '../cluster.ts'
import { asOperationError, EXIT_CODES } from '../exit-codes.ts'
import { agentOf, programOf } from '../manifests/agent-container.ts'
import { asFields, asText, dig, fieldsNamed } from '../manifests/manifest.ts'
import { renderStream } from '../manifests/manifest-stream.ts'
import type { REPORT_SETTINGS } from '../operate-command.ts'
import { note, printLines, textOf, write } from '../output.ts'
import { type Source, sourceOf } from '../overview.ts'
import { historyTable, statusTable } from '../status-table.ts'
import { secretRemover } from './secret-values.ts'

// A report shows only what langflow-leader itself has written: its status, its annotations, its settings and its log lines. Of
// containers it shows names, states and the names of other variables. A value that is not on a list below does not appear, and
// neither does a value of a Secret that its pods use.

export interface Reading {
  readonly leaseName: string
  readonly objects: Pick<KubeObjects, 'namespace' | 'list' | 'get' | 'logs'>
  readonly source: Pick<Source, 'overview' | 'history'>
  readonly clock: Pick<Clock, 'now'>
}

const MOST_LINES = 500
const LEASE_FIELDS = 'holderIdentity,leaseTransitions,leaseDurationSeconds,acquireTime,renewTime'.split(',')
const NOTES = [...REQUEST_ANNOTATIONS, ...PAUSE_ANNOTATIONS, LAST_DRILL]
const LOG_FIELDS =
  'level,time,component,identity,epoch,event,code,reason,msg,times,lasted,durationMs,successor,mode,pid,port'.split(
    ',',
  )
const HEAD =
  'Only the fields that langflow-leader itself writes are shown, and names and states of containers. Read the file before you share it.'

export async function runReport({ file, ...from }: Values<typeof REPORT_SETTINGS>): Promise<number> {
  using cluster = await Cluster.connect(from)
  using source = await sourceOf(from)
  const { leaseName, namespace, objects } = cluster
  const { text, parts, failures } = await makeReport({ leaseName, objects, source, clock: systemClock })
  // If no part can be read, the command fails like all others, with one sentence.
  if (parts === 0) throw asOperationError(failures[0])
  for (const { message } of failures) note(`langflow-leader: ${message}`)
  if (file === '-') await write(text)
  else {
    const time = new Date().toISOString().slice(0, 19).replaceAll(':', '')
    const path = file ?? `langflow-leader-report-${namespace}-${time}Z.txt`
    await writeFile(path, text, { flag: 'wx', mode: 0o600 }).catch((error) => {
      const why = reasonOf(error, { EEXIST: 'the file exists: choose another --file' })
      throw new FatalError(`cannot write ${path}: ${why}`, { cause: error })
    })
    printLines(`wrote ${path}: ${parts} parts, ${failures.length} missing; read it before you share it`)
  }
  return failures.length === 0 ? EXIT_CODES.fine : EXIT_CODES.failed
}

/** A part that cannot be read is a failure in the result. */
export async function makeReport({ objects, leaseName, source, clock }: Reading) {
  const failures: Error[] = []
  const attempt = async <T>(what: string, read: () => Promise<T>): Promise<T | null> =>
    read().catch((error: Error) => {
      error.message = oneLine(`${what} could not be read: ${error.message}`)
      failures.push(error)
      return null
    })
  const part = async (title: string, read: () => Promise<readonly string[]>): Promise<string[][]> => {
    const lines = (await attempt(title, read)) ?? []
    return lines.length > 0 ? [[`===== ${title} =====`, '', ...lines, '']] : []
  }
  const listed = (await attempt('the list of pods', () => objects.list(POD, DEADLINE_MS))) ?? []
  const pods = listed.filter(
    (pod) => (agentOf(pod)?.leaseName ?? leaseName) === leaseName && agentOf(pod) !== null,
  )
  const parts = await Promise.all([
    part('status', async () => {
      const overview = await source.overview()
      const json = JSON.stringify(overview, null, 2).split('\n')
      return [...statusTable(overview, clock.now().wall, true), '', ...json]
    }),
    part('history', async () => historyTable(await source.history(), clock.now().wall)),
    part('Lease', async () => leaseFacts(await objects.get(LEASE, leaseName, DEADLINE_MS))),
    ...pods.map((pod) => part(`Pod/${pod.metadata.name}`, async () => podFacts(pod))),
    ...pods.flatMap((pod) =>
      containersOf(pod).flatMap(({ container, status }) =>
        [status?.restartCount ? true : [], false].flat().map((previous) => {
          const { name } = pod.metadata
          const title = `log of ${name}/${container.name}${previous ? ', its previous run' : ''}`
          const run = { container: container.name, lines: MOST_LINES, previous }
          return part(title, async () => ownLines(await objects.logs(name, run, DEADLINE_MS), container))
        }),
      ),
    ),
  ])
  const secrets = [...new Set(pods.flatMap(secretsOf))].map((name) =>
    attempt(`Secret/${name}, whose values may therefore remain in this report,`, () =>
      objects
        .get(kindOf('Secret', 'v1'), name, DEADLINE_MS)
        .catch((error: ApiError) => (error.code === 'not_found' ? null : Promise.reject(error))),
    ),
  )
  const values = (await Promise.all(secrets)).flatMap((secret) => Object.values(asFields(secret?.data)))
  const remove = secretRemover(values.map((value) => Buffer.from(asText(value), 'base64')))
  for (const error of failures) error.message = redactText(remove(error.message))
  const about = [
    `langflow-leader report of the Lease ${objects.namespace}/${leaseName}`,
    `${new Date(clock.now().wall).toISOString()}, langflow-leader ${VERSION}`,
    HEAD,
    ...(failures.length === 0 ? ['No part is missing.'] : failures.map(({ message }) => message)),
  ]
  const text = textOf([...about.flatMap((line) => [line, '']), ...parts.flat(2)])
  return { text: redactText(remove(text)), parts: parts.flat().length, failures }
}

/** The names of the Secrets to which any field of a pod refers, for its containers, volumes or images. */
function secretsOf({ spec }: KubeObject): string[] {
  const nameOf = (one: unknown) => asText(one) || asText(dig(one, 'secretName')) || asText(dig(one, 'name'))
  return fieldsNamed(spec, /secret/i).flatMap((one) => nameOf(one) || [])
}

function leaseFacts({ metadata, spec }: KubeObject): string[] {
  const notes = asFields(metadata.annotations)
  const annotations = Object.keys(notes).map((name) =>
    NOTES.includes(name) ? `${name}=${notes[name]}` : name,
  )
  return renderStream([{ ...JSON.parse(JSON.stringify(spec ?? {}, LEASE_FIELDS)), annotations }]).split('\n')
}

function podFacts(pod: KubeObject): string[] {
  const { phase } = asFields(pod.status)
  const { nodeName: node } = asFields(pod.spec)
  return renderStream([{ node, phase, containers: containersOf(pod).map(containerFacts) }]).split('\n')
}

function containersOf({ spec, status }: KubeObject) {
  const { initContainers = [], containers = [] } = (spec ?? {}) as Partial<V1PodSpec>
  const { initContainerStatuses = [], containerStatuses = [] } = (status ?? {}) as V1PodStatus
  const states = [...initContainerStatuses, ...containerStatuses]
  return [...initContainers, ...containers].map((container) => {
    return { container, status: states.find(({ name }) => name === container.name) }
  })
}

function containerFacts({ container, status }: ReturnType<typeof containersOf>[number]): object {
  const { ready, restartCount: restarts, state = {}, lastState = {} } = status ?? {}
  const reasons = [state.waiting, state.terminated, lastState.terminated].flatMap((one) => one?.reason ?? [])
  // The words after `--` are the command of LangFlow.
  const words = [...(programOf({ ...container })?.args ?? []), '--']
  const variables = (container.env ?? []).map(({ name, value = 'from another object' }) =>
    name.startsWith('LEADER_') && name !== API_KEY ? `${name}=${value}` : name,
  )
  const args = words.slice(0, words.indexOf('--'))
  return { name: container.name, ready, restarts, reasons, args, variables }
}

const OWN_LINE =
  /^\{"level":"(?:info|warn|error|fatal)","time":"([\d:.TZ-]+)","component":"(?:agent|launcher|front)",/

/**
 * The lines that an agent, a launcher or a front wrote by `createLog`. LangFlow shares its launcher's output and may write such a line
 * itself. So only the agent's own container counts for a text, and each other one for times and names of events.
 */
function ownLines(log: string, container: V1Container): string[] {
  const isAlone = programOf({ ...container })?.name === 'agent'
  return log.split('\n').flatMap((line) => {
    const [, time] = OWN_LINE.exec(line) ?? []
    if (time === undefined) return []
    try {
      const fields = asFields(JSON.parse(line))
      if (isAlone) return JSON.stringify(fields, LOG_FIELDS)
      const event = EVENTS.find((one) => one === fields.event)
      return event === undefined ? [] : JSON.stringify({ time, event, epoch: Number(fields.epoch) })
    } catch {
      return []
    }
  })
}

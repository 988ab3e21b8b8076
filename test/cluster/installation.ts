import { randomBytes } from 'node:crypto'
import type { AgentStatus } from '../../agent/observe/status.ts'
import { askOnce, Client } from '../harness/client.ts'
import { lateBeats, overlapMs } from '../harness/judge.ts'
import { mono, until } from '../harness/wait.ts'
import { Collector } from './collector.ts'
import type { Kube } from './kube.ts'
import { type Answer, LeaseHistory, wrongAnswers } from './lease-history.ts'
import {
  type EndpointSlice,
  identityOf,
  isReady,
  type List,
  type Manifest,
  type Overlay,
  type Pod,
  renderOverlay,
} from './objects.ts'
import { plainLangflow } from './plain-langflow.ts'
import { PodLogs } from './pod-logs.ts'
import {
  asStatefulSet,
  fitToNode,
  type Kind,
  STAND_IN,
  scaled,
  type Traffic,
  type Workload,
} from './workload.ts'

export interface InstallationOptions extends Partial<Overlay> {
  readonly kind?: Kind
  readonly replicas?: number
  /** Instead of the stand-in. */
  readonly workload?: Workload
  /** Not readiness: its component is added, and it rolls out as deploy/production does. */
  readonly traffic?: Traffic
  /** Changes what is applied, after everything else. */
  readonly change?: (manifests: Manifest[]) => void
  /** Is given a LangFlow as others deploy it, without an agent, and installs it: instead of what deploy/ has. */
  readonly adopt?: (one: Installation, plain: readonly Manifest[]) => Promise<void>
}

/** What production asks for, and a stand-in does without. */
const NO_DATABASE = 'postgresql://nobody@127.0.0.1:9/none'
const START_MS = 60_000
const POD = 'app.kubernetes.io/name=langflow'

/** What deploy/ installs, in a namespace of its own, with a client that never stops asking. */
export class Installation {
  readonly kube: Kube
  readonly namespace: string
  readonly kind: Kind
  readonly traffic: Traffic
  readonly collector: Collector
  readonly lease: LeaseHistory
  readonly logs: PodLogs
  client!: Client<Answer>
  /** Of the Service. */
  url = ''
  readonly #workload: Workload
  readonly #end = new AbortController()
  #changes = 0

  private constructor(kube: Kube, namespace: string, collector: Collector, options: InstallationOptions) {
    this.kube = kube
    this.namespace = namespace
    this.kind = options.kind ?? 'Deployment'
    this.traffic = options.traffic ?? (options.base === 'production' ? 'label' : 'readiness')
    this.#workload = options.workload ?? STAND_IN
    this.collector = collector
    this.lease = LeaseHistory.follow(kube, namespace, this.#end.signal)
    this.logs = new PodLogs(namespace)
  }

  /** Applies it all, and resolves once the first leader answers through the Service. */
  static async start(kube: Kube, options: InstallationOptions = {}): Promise<Installation> {
    const namespace = `leader-${randomBytes(3).toString('hex')}`
    const collector = await Collector.open()
    const one = new Installation(kube, namespace, collector, options)
    try {
      await one.#apply(options)
      await one.served(0, one.#workload.startMs)
    } catch (error) {
      process.stderr.write(`${await one.evidence()}\n`)
      await one.close()
      throw error
    }
    return one
  }

  async #apply(options: InstallationOptions): Promise<void> {
    const { kube, namespace, kind, traffic, collector } = this
    const rendered = options.adopt
      ? plainLangflow()
      : await renderOverlay(kube, {
          base: options.base ?? 'base',
          components: [
            ...(traffic === 'readiness' || options.base === 'production' ? [] : [`traffic-${traffic}`]),
            ...(options.components ?? []),
          ],
          images: options.images ?? {},
        })
    const served = this.#workload.prepare(rendered, `${kube.nodeAddress}:${collector.port}`)
    fitToNode(served)
    scaled(served, options.replicas ?? 2, traffic)
    const manifests = kind === 'StatefulSet' ? asStatefulSet(served, traffic) : served
    options.change?.(manifests)
    const own: Manifest[] = [
      {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: namespace, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
      },
      ...(options.adopt ? [] : [secretFor(options)]),
    ]
    await this.apply(own)
    await (options.adopt?.(this, manifests) ?? this.apply(manifests))
    const service = await kube.get<{ spec: { clusterIP: string } }>(
      `/api/v1/namespaces/${namespace}/services/langflow`,
    )
    this.url = `http://${service.spec.clusterIP}:7860`
    const { path, read } = this.#workload
    const target = { to: 'langflow', url: `${this.url}${path}` }
    this.client = new Client({ everyMs: 50, withinMs: 5_000, target: () => target, read })
  }

  /** In its namespace. */
  async apply(manifests: readonly Manifest[]): Promise<void> {
    const items = manifests.map((one) => inNamespace(one, this.namespace))
    await this.kube.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  }

  /** Runs kubectl in its namespace. */
  kubectl(...args: string[]): Promise<string> {
    return this.kube.kubectl([`--namespace=${this.namespace}`, ...args])
  }

  /** The same, ended with `signal`. */
  kubectlUntil(signal: AbortSignal, ...args: string[]): Promise<string> {
    return this.kube.kubectl([`--namespace=${this.namespace}`, ...args], '', signal)
  }

  /** `deployment/langflow`, or what stands for it. */
  get workload(): string {
    return `${this.kind.toLowerCase()}/langflow`
  }

  async pods(): Promise<readonly Pod[]> {
    const path = `/api/v1/namespaces/${this.namespace}/pods?labelSelector=${encodeURIComponent(POD)}`
    return (await this.kube.get<List<Pod>>(path)).items
  }

  async endpoints(): Promise<EndpointSlice['endpoints']> {
    const of = encodeURIComponent('kubernetes.io/service-name=langflow')
    const path = `/apis/discovery.k8s.io/v1/namespaces/${this.namespace}/endpointslices?labelSelector=${of}`
    return (await this.kube.get<List<EndpointSlice>>(path)).items.flatMap(({ endpoints }) => endpoints ?? [])
  }

  async status(pod: Pod): Promise<AgentStatus> {
    const answer = await fetch(`http://${pod.status.podIP}:8090/status`, {
      signal: AbortSignal.timeout(2_000),
    })
    return (await answer.json()) as AgentStatus
  }

  /** The pod that the Lease names. Rejects where there is none. */
  async leader(): Promise<Pod> {
    const found = (await this.pods()).find((pod) => identityOf(pod) === this.lease.holder)
    if (found === undefined)
      throw new Error(`the Lease names ${this.lease.holder || 'nobody'}, which is no pod`)
    return found
  }

  async followers(): Promise<Pod[]> {
    return (await this.pods()).filter(
      (pod) => identityOf(pod) !== this.lease.holder && pod.metadata.deletionTimestamp === undefined,
    )
  }

  /** Resolves once an answer of at least this epoch came through the Service. */
  async served(epoch = 0, withinMs = START_MS): Promise<void> {
    await until(
      `an answer of epoch ${epoch} or later`,
      () => this.client.calls.some(({ answer }) => answer !== null && answer.epoch >= epoch),
      withinMs,
    )
  }

  /** Resolves once somebody serves and every other replica could take over: what each scenario begins with. */
  async settled(replicas = 2, withinMs = START_MS): Promise<void> {
    await until(
      `${replicas} replicas, of which one serves and the others could take over`,
      () => this.#isSettled(replicas).catch(() => false),
      withinMs,
    )
  }

  async #isSettled(replicas: number): Promise<boolean> {
    const pods = await this.pods()
    if (pods.length !== replicas || pods.some(({ metadata }) => metadata.deletionTimestamp)) return false
    const states = await Promise.all(pods.map((pod) => this.status(pod)))
    const leaders = states.filter(({ role, traffic }) => role === 'leader' && traffic.gate === 'open')
    const standbys = states.filter(({ couldTakeOver }) => couldTakeOver)
    const ready = pods.filter(isReady).length
    return (
      leaders.length === 1 &&
      standbys.length === replicas - 1 &&
      ready === (this.traffic === 'readiness' ? 1 : replicas) &&
      (await this.answeredSince(mono()))
    )
  }

  /** Resolves once all have been Ready for as long as a rollout waits for it. */
  async available(replicas: number): Promise<void> {
    const path = `/apis/apps/v1/namespaces/${this.namespace}/${this.kind.toLowerCase()}s/langflow`
    await until(
      `${replicas} available replicas`,
      async () => {
        const { status } = await this.kube.get<{ status: { availableReplicas?: number } }>(path)
        return status.availableReplicas === replicas
      },
      START_MS,
    )
  }

  private async answeredSince(from: number): Promise<boolean> {
    await until(
      'an answer through the Service',
      () => this.client.calls.some(({ answer, sentAt }) => answer !== null && sentAt >= from),
      2_000,
    )
    return true
  }

  /** Changes the pod template, and returns what its pods carry from now on. */
  async changeTemplate(): Promise<string> {
    this.#changes += 1
    const change = String(this.#changes)
    const patch = { spec: { template: { metadata: { annotations: { 'test/change': change } } } } }
    await this.kubectl('patch', this.workload, '--patch', JSON.stringify(patch))
    return change
  }

  /** Asks a pod itself, past the Service. */
  askPod(pod: Pod, path: string, withinMs?: number): Promise<Answer> {
    const more = withinMs === undefined ? {} : { withinMs }
    return askOnce(`http://${pod.status.podIP}:7860${path}`, this.#workload.read, more)
  }

  /** What must never be, of all that was seen until now; empty: nothing. */
  violations(): string[] {
    const { beats } = this.collector
    const overlap = overlapMs(beats)
    // What runs without an agent belongs to no term.
    const late = lateBeats(beats.filter(({ replica }) => replica !== undefined))
    return [
      ...(overlap > 0 ? [`two acted at once for ${overlap.toFixed(1)} ms`] : []),
      ...(late.length > 0 ? [`a term went on after a later one: ${JSON.stringify(late[0])}`] : []),
      ...wrongAnswers(this.answers, this.lease.terms),
      ...this.lease.contradictions,
    ]
  }

  /** All answers through the Service, in the order in which they were given. */
  get answers(): Answer[] {
    return this.client.answers.sort((a, b) => a.mono - b.mono)
  }

  /** What is needed to understand a failure: pods, events, each agent's view, and all logs. */
  async evidence(): Promise<string> {
    const part = async (title: string, text: () => Promise<string> | string) =>
      `--- ${title}\n${await Promise.resolve()
        .then(text)
        .catch((error: Error) => error.message)}`
    this.logs.read()
    const pods = await this.pods().catch(() => [])
    return [
      await part('pods', () => this.kubectl('get', 'all,lease,endpointslices', '--output=wide')),
      await part('events', () => this.kubectl('get', 'events', '--sort-by=.metadata.creationTimestamp')),
      ...(await Promise.all(
        pods.map((pod) =>
          part(`status of ${pod.metadata.name}`, async () => JSON.stringify(await this.status(pod), null, 1)),
        ),
      )),
      await part('logs', () =>
        [...this.logs.lines]
          .sort((a, b) => a.at.localeCompare(b.at))
          .map(({ at, pod, container, text }) => `${at} ${pod}/${container} ${text}`)
          .join('\n'),
      ),
    ].join('\n')
  }

  /** Deletes its namespace, without waiting for the end of its pods. */
  async close(): Promise<void> {
    this.#end.abort()
    void this.client?.stop()
    this.collector.close()
    this.logs.close()
    const all = [`--namespace=${this.namespace}`, 'delete', 'pods', '--all', '--force', '--grace-period=0']
    await this.kube.kubectl(['delete', 'namespace', this.namespace, '--wait=false', '--ignore-not-found'])
    await this.kube.kubectl(all).catch(() => {})
  }
}

/** What README has a user make. */
function secretFor({ base }: InstallationOptions): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'langflow' },
    stringData: {
      'secret-key': randomBytes(32).toString('base64url'),
      'superuser-password': randomBytes(16).toString('hex'),
      ...(base === 'production' ? { 'database-url': NO_DATABASE } : {}),
    },
  }
}

function inNamespace(manifest: Manifest, namespace: string): Manifest {
  if (manifest.kind === 'Namespace') return manifest
  const metadata = { ...manifest.metadata, namespace }
  const subjects = manifest.subjects?.map((one: object) => ({ ...one, namespace }))
  return { ...manifest, metadata, ...(subjects ? { subjects } : {}) }
}

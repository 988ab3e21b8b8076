import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { holderOf, type Lease } from '../../agent/lease/lease.ts'
import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { workloadOf } from '../deploy/consistency.ts'
import { rendered, type Values } from '../deploy/helm.ts'
import { type Manifest, plainManifests } from '../deploy/manifests.ts'
import { FILES, type PlainFile } from '../deploy/plain-files.ts'
import { askOnce, Client } from '../harness/client.ts'
import { type Beat, lateBeats, overlapMs } from '../harness/judge.ts'
import { mono, until } from '../harness/wait.ts'
import { identityOf, isReady, type Kube, type Pod } from './kube.ts'
import { PodLogs } from './pod-logs.ts'
import { type Answer, fitToNode, plainLangflow, STAND_IN, type Traffic, type Workload } from './workload.ts'

export interface InstallationOptions {
  /** Default: the smallest. */
  readonly file?: PlainFile
  /** Values of the chart, in addition to those of the file. Helm then renders the chart. */
  readonly values?: Values
  /** The name of the release, and the namespace, which may exist. */
  readonly release?: string
  readonly namespace?: string
  /** The program in LangFlow's container. Default: the stand-in. */
  readonly workload?: Workload
  /** Default: that of the values. */
  readonly traffic?: Traffic
  /** Installs LangFlow by itself, by the example of one without an agent. */
  readonly adopt?: (one: Installation, plain: readonly Manifest[]) => Promise<void>
}

const START_MS = 60_000
/** Timeouts of a request. A front answers a held request after 30 s at the latest. */
const WITHIN_MS = { readiness: 5_000, front: 40_000 }

/** An installation of deploy/ in a namespace of its own, with a client that sends requests without a pause. */
export class Installation {
  readonly kube: Kube
  readonly namespace: string
  readonly release: string
  readonly traffic: Traffic
  /** Such as `deployment/langflow`. */
  readonly name: string
  /** Beats of all stand-ins, which arrive for as long as a stand-in executes. */
  readonly beats: Beat[] = []
  /** The Lease, as its watch reported it last. */
  readonly lease = { holder: '', epoch: 0 }
  readonly logs: PodLogs
  client!: Client<Answer>
  /** The URL of the Service. */
  url = ''
  readonly #options: InstallationOptions
  readonly #workload: Workload
  readonly #socket = createSocket({ type: 'udp4', recvBufferSize: 2 ** 20 })
  readonly #end = new AbortController()
  #changes = 0

  private constructor(kube: Kube, options: InstallationOptions) {
    this.kube = kube
    this.namespace = options.namespace ?? `leader-${randomBytes(3).toString('hex')}`
    this.logs = new PodLogs(this.namespace)
    this.#options = options
    const values = valuesOf(options)
    this.traffic = options.traffic ?? ((values.traffic ?? 'front') as Traffic)
    this.release = options.release ?? 'langflow'
    this.name = `${values.kind ?? 'Deployment'}/${this.release}`.toLowerCase()
    this.#workload = options.workload ?? STAND_IN
    const leases = `/apis/coordination.k8s.io/v1/namespaces/${this.namespace}/leases`
    const name = `metadata.name%3D${this.release}-leader-lock`
    const watch = `${leases}?watch=true&fieldSelector=${name}`
    void kube.watch<Lease>(watch, this.#end.signal, (lease) => {
      Object.assign(this.lease, { holder: holderOf(lease), epoch: lease.spec?.leaseTransitions ?? 0 })
    })
    this.#socket.on('message', (message) => this.beats.push(JSON.parse(message.toString()) as Beat))
  }

  /** Applies all objects, and resolves once the first leader answers through the Service. */
  static async start(kube: Kube, options: InstallationOptions = {}): Promise<Installation> {
    const one = new Installation(kube, options)
    try {
      await one.#apply()
      await one.served(0, one.#workload.startMs)
    } catch (error) {
      process.stderr.write(`${await one.evidence()}\n`)
      await one.close()
      throw error
    }
    return one
  }

  async #apply(): Promise<void> {
    const { kube, traffic } = this
    const { adopt } = this.#options
    const manifests = adopt ? plainLangflow() : await manifestsOf(this.#options)
    await once(this.#socket.bind(0), 'listening')
    const collector = `${kube.nodeAddress}:${this.#socket.address().port}`
    const beside = this.#workload.prepare(workloadOf(manifests), collector)
    fitToNode(manifests)
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' }
    await this.apply([
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: this.namespace, labels } },
      ...(adopt ? [] : [SECRET]),
      ...beside,
    ])
    await (adopt ? adopt(this, manifests) : this.apply(manifests))
    const address = ['get', 'service', this.release, '--output=jsonpath={.spec.clusterIP}']
    this.url = `http://${await this.kubectl(...address)}:7860`
    const { path, read, asked = {}, withinMs = WITHIN_MS[traffic] } = this.#workload
    const target = { to: 'langflow', url: `${this.url}${path}` }
    this.client = new Client({ everyMs: 50, withinMs, target: () => target, asked, read })
  }

  /** Applies objects in the installation's namespace. */
  async apply(manifests: readonly Manifest[]): Promise<void> {
    const { namespace } = this
    const items = manifests.map((manifest) => {
      if (manifest.kind === 'Namespace') return manifest
      const subjects = manifest.subjects?.map((one: object) => ({ ...one, namespace }))
      return { ...manifest, metadata: { ...manifest.metadata, namespace }, ...(subjects && { subjects }) }
    })
    await this.kube.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  }

  /** Runs kubectl in the installation's namespace. */
  kubectl(...args: string[]): Promise<string> {
    return this.kube.kubectl([`--namespace=${this.namespace}`, ...args])
  }

  async pods(): Promise<readonly Pod[]> {
    const labels = `app.kubernetes.io/name=langflow,app.kubernetes.io/instance=${this.release}`
    const path = `/api/v1/namespaces/${this.namespace}/pods?labelSelector=${encodeURIComponent(labels)}`
    return (await this.kube.get<{ items: Pod[] }>(path)).items
  }

  async status(pod: Pod): Promise<AgentStatus> {
    const signal = AbortSignal.timeout(2_000)
    const answer = await fetch(`http://${pod.status.podIP}:8090/status`, { signal })
    return (await answer.json()) as AgentStatus
  }

  async statuses(): Promise<AgentStatus[]> {
    return Promise.all((await this.pods()).map((pod) => this.status(pod)))
  }

  /** Returns the pod that holds the Lease. Rejects if it doesn't exist. */
  async leader(): Promise<Pod> {
    const found = (await this.pods()).find((pod) => identityOf(pod) === this.lease.holder)
    if (found === undefined)
      throw new Error(`no pod for the holder of the Lease: ${this.lease.holder || 'none'}`)
    return found
  }

  /** Resolves once an answer of this or a later epoch has come through the Service. */
  async served(epoch = 0, withinMs = START_MS): Promise<void> {
    await until(
      `an answer of epoch ${epoch} or later`,
      () => this.client.calls.some(({ answer }) => answer !== null && answer.epoch >= epoch),
      withinMs,
    )
  }

  /** Resolves once one replica serves and all others could take over. Each scenario begins with this. */
  async settled(replicas = 2, withinMs = START_MS): Promise<void> {
    await until(
      `${replicas} replicas, of which one serves and the others could take over`,
      () => this.#isSettled(replicas).catch(() => false),
      withinMs,
    )
    const from = mono()
    await until('an answer through the Service', () => this.client.answered(from) > 0, START_MS)
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
      ready === (this.traffic === 'readiness' ? 1 : replicas)
    )
  }

  /** Resolves once the replicas are available: Ready for `minReadySeconds`. */
  async available(replicas: number): Promise<void> {
    const expected = `--for=jsonpath={.status.availableReplicas}=${replicas}`
    await this.kubectl('wait', expected, this.name, '--timeout=60s')
  }

  /** Changes the pod template, and returns the annotation of its new pods. */
  async changeTemplate(): Promise<string> {
    this.#changes += 1
    const change = String(this.#changes)
    const patch = { spec: { template: { metadata: { annotations: { 'test/change': change } } } } }
    await this.kubectl('patch', this.name, '--patch', JSON.stringify(patch))
    return change
  }

  /** Sends a request to a pod's LangFlow without the Service. */
  askPod(pod: Pod, path: string, withinMs = 5_000): Promise<Answer> {
    return askOnce(`http://${pod.status.podIP}:7860${path}`, this.#workload.read, { withinMs })
  }

  /** Violations of the guarantees so far. A beat or an answer of a LangFlow without an agent belongs to no term. */
  violations(): string[] {
    const overlap = overlapMs(this.beats)
    const answers = this.answers.map((answer): Beat => ({ ...answer, what: 'beat' }))
    const late = lateBeats([...this.beats, ...answers].filter(({ epoch }) => epoch > 0))
    return [
      ...(overlap > 0 ? [`two replicas acted at the same time for ${overlap.toFixed(1)} ms`] : []),
      ...late
        .map((beat) => `a replica acted after a later term had begun: ${JSON.stringify(beat)}`)
        .slice(0, 1),
    ]
  }

  /** All answers through the Service, in the order of their times. */
  get answers(): Answer[] {
    return this.client.answers.sort((a, b) => a.mono - b.mono)
  }

  /** The information to analyse a failure: objects, Events, the status of each agent, and all logs. */
  async evidence(): Promise<string> {
    const states = this.statuses().then((all) => JSON.stringify(all, null, 1))
    const parts = [
      this.kubectl('get', 'all,lease,endpointslices', '--output=wide'),
      this.kubectl('get', 'events', '--sort-by=.metadata.creationTimestamp'),
      states,
    ]
    const texts = await Promise.all(parts.map((part) => part.catch((error: Error) => error.message)))
    const lines = this.logs.lines.toSorted((a, b) => a.at.localeCompare(b.at))
    return [
      ...texts,
      ...lines.map(({ at, pod, container, text }) => `${at} ${pod}/${container} ${text}`),
    ].join('\n')
  }

  /** Deletes the namespace without waiting for the end of its pods. */
  async close(): Promise<void> {
    this.#end.abort()
    void this.client?.stop()
    this.#socket.close()
    this.logs.close()
    await this.kube.kubectl(['delete', 'namespace', this.namespace, '--wait=false', '--ignore-not-found'])
    await this.kubectl('delete', 'pods', '--all', '--force', '--grace-period=0').catch(() => {})
  }
}

/** The values of the chart that an installation has. */
function valuesOf({ file = 'langflow.yaml', values = {} }: InstallationOptions): Values {
  return { ...FILES[file].values, ...values }
}

async function manifestsOf(options: InstallationOptions): Promise<Manifest[]> {
  const { file = 'langflow.yaml', values } = options
  return values === undefined ? plainManifests(file) : (await rendered(valuesOf(options))).manifests
}

/** The Secret of the plain files. The stand-in ignores the database and the bucket. */
const SECRET: Manifest = {
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 'langflow' },
  stringData: {
    'secret-key': randomBytes(32).toString('base64url'),
    'superuser-password': randomBytes(16).toString('hex'),
    'database-url': 'postgresql://nobody@127.0.0.1:9/none',
    's3-bucket': 'none',
  },
}

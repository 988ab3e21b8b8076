import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { parse } from 'yaml'
import type { KubeObject } from '../../agent/kube/objects.ts'
import { assertOneActed, readBeats } from '../support/beats.ts'
import { linkedKubeconfig } from '../support/linked-kubeconfig.ts'
import { Pod } from '../support/pod.ts'
import { FAST, Replica, type ReplicaOptions } from '../support/replica.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import type { ControlPlane } from './control-plane.ts'
import { ACCOUNT, deployRights } from './deploy-rights.ts'
import { ObjectWatch } from './object-watch.ts'

export type Mode = 'label' | 'slice'

export const ROLE = 'langflow-leader/role'
export const SLICE = 'langflow-leader'

interface Rule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly resourceNames?: readonly string[]
  readonly verbs: readonly string[]
}

const COMPONENTS = join(import.meta.dirname, '../../deploy/components')

/** What the component of a mode adds to the Role. */
function ruleOf(mode: Mode): Rule {
  const file = mode === 'label' ? 'traffic-label/pod-rights.yaml' : 'traffic-slice/slice-rights.yaml'
  const [patch] = parse(readFileSync(join(COMPONENTS, file), 'utf8')) as [{ value: Rule }]
  return patch.value
}

/** Replicas in a namespace of their own, each with a Pod object that nobody runs, and the rights of deploy/. */
export class TrafficScene {
  readonly mode: Mode
  readonly namespace: string
  readonly kubeconfig: string
  readonly dir = mkdtempSync(join(tmpdir(), 'traffic-e2e-'))
  readonly beats = join(this.dir, 'beats')
  readonly pods: ObjectWatch
  readonly slices: ObjectWatch
  private readonly plane: ControlPlane
  private readonly running: (Replica | Pod)[] = []
  private readonly links: TcpProxy[] = []
  private addresses = 0

  private constructor(
    mode: Mode,
    plane: ControlPlane,
    namespace: string,
    kubeconfig: string,
    [pods, slices]: readonly [ObjectWatch, ObjectWatch],
  ) {
    this.mode = mode
    this.plane = plane
    this.namespace = namespace
    this.kubeconfig = kubeconfig
    this.pods = pods
    this.slices = slices
  }

  /** `without`: a verb that the Role lacks; `slice`: whether there is one. */
  static async open(
    t: TestContext,
    plane: ControlPlane,
    mode: Mode,
    { without, slice = true }: { without?: string; slice?: boolean } = {},
  ): Promise<TrafficScene> {
    const namespace = await plane.newNamespace()
    const kubeconfig = await deployRights(plane, namespace)
    const watches = await Promise.all([
      ObjectWatch.open(plane, `/api/v1/namespaces/${namespace}/pods`),
      ObjectWatch.open(plane, `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`),
    ])
    const scene = new TrafficScene(mode, plane, namespace, kubeconfig, watches)
    t.after(() => scene.close())
    await scene.grant(without)
    if (mode === 'slice' && slice) await scene.applySlice()
    return scene
  }

  /** Gives what the mode's component gives, less one verb. */
  async grant(without?: string): Promise<void> {
    const rule = ruleOf(this.mode)
    const rules = [{ ...rule, verbs: rule.verbs.filter((verb) => verb !== without) }]
    const metadata = { name: 'traffic' }
    const apiVersion = 'rbac.authorization.k8s.io/v1'
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'traffic' }
    const subjects = [{ kind: 'ServiceAccount', name: ACCOUNT, namespace: this.namespace }]
    await this.apply({ apiVersion, kind: 'Role', metadata, rules })
    await this.apply({ apiVersion, kind: 'RoleBinding', metadata, roleRef, subjects })
  }

  async applySlice(): Promise<void> {
    const file = join(COMPONENTS, 'traffic-slice/endpoint-slice.yaml')
    await this.apply(parse(readFileSync(file, 'utf8')) as object)
  }

  kubectl(...args: string[]): Promise<{ stdout: string }> {
    return this.plane.kubectl([`--namespace=${this.namespace}`, ...args])
  }

  async replica(name: string, flags: readonly string[] = FAST): Promise<Replica> {
    const replica = await Replica.start(await this.options(name, flags))
    this.running.push(replica)
    return replica
  }

  /** The same, over a network on which each answer of the API server takes `delayMs` longer. */
  async distantReplica(name: string, flags: readonly string[], delayMs: number): Promise<Replica> {
    const link = await TcpProxy.open(Number(new URL(this.plane.serverUrl).port))
    this.links.push(link)
    link.flow({ toClient: { delayMs } })
    const kubeconfig = linkedKubeconfig(this.kubeconfig, link.port, join(this.dir, `${name}.kubeconfig`))
    const replica = await Replica.start({ ...(await this.options(name, flags)), kubeconfig })
    this.running.push(replica)
    return replica
  }

  /** Agent and launcher apart, so that one can be restarted without the other. */
  async pod(name: string, flags: readonly string[]): Promise<Pod> {
    const pod = await Pod.start(await this.options(name, flags), join(this.dir, name))
    this.running.push(pod)
    return pod
  }

  /** The pods that traffic is led to by one version of an object. */
  leadsTo(object: KubeObject, name: string): boolean {
    if (this.mode === 'label')
      return object.metadata.name === name && object.metadata.labels?.[ROLE] === 'leader'
    const endpoints = (object.endpoints ?? []) as { targetRef?: { name: string } }[]
    return endpoints.some(({ targetRef }) => targetRef?.name === name)
  }

  /** Of the objects that lead traffic. */
  get watch(): ObjectWatch {
    return this.mode === 'label' ? this.pods : this.slices
  }

  opened(name: string, from = 0) {
    return this.watch.next(`traffic is led to ${name}`, (object) => this.leadsTo(object, name), from)
  }

  closed(name: string, from: number) {
    const isClosed = (object: KubeObject) =>
      (this.mode === 'slice' || object.metadata.name === name) && !this.leadsTo(object, name)
    return this.watch.next(`traffic is taken from ${name}`, isClosed, from)
  }

  /** Which pods traffic is led to, after each version that was seen, one after the other. */
  history(): string[][] {
    const leads = new Map<string, boolean>()
    return this.watch.versions.map(({ object }) => {
      if (this.mode === 'slice') for (const name of ['a', 'b']) leads.set(name, this.leadsTo(object, name))
      else leads.set(object.metadata.name, this.leadsTo(object, object.metadata.name))
      return [...leads].flatMap(([name, yes]) => (yes ? [name] : []))
    })
  }

  private async options(name: string, flags: readonly string[]): Promise<ReplicaOptions> {
    const uid = await this.makePod(name)
    const { kubeconfig, namespace, beats, mode } = this
    const env = { POD_NAME: name, POD_UID: uid, POD_IP: `10.9.0.${++this.addresses}` }
    const all = [...flags, `--traffic=${mode}`]
    return { identity: name, kubeconfig, namespace, beats, flags: all, env }
  }

  private async makePod(name: string): Promise<string> {
    const containers = [{ name: 'langflow', image: 'langflow' }]
    await this.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { containers } })
    return (await this.kubectl('get', 'pod', name, '-o', 'jsonpath={.metadata.uid}')).stdout
  }

  private async apply(manifest: object): Promise<void> {
    const args = ['apply', '--validate=strict', `--namespace=${this.namespace}`, '-f', '-']
    await this.plane.kubectl(args, JSON.stringify(manifest))
  }

  private async close(): Promise<void> {
    await Promise.all(this.running.map((one) => one.stop()))
    await Promise.all([this.pods, this.slices, ...this.links].map((one) => one.close()))
    const beats = readBeats(this.beats)
    rmSync(this.dir, { recursive: true })
    assertOneActed(beats)
  }
}

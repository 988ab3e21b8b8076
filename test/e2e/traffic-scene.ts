import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { parse } from 'yaml'
import type { KubeObject } from '../../agent/kube/objects.ts'
import type { ControlPlane } from '../harness/control-plane.ts'
import { ACCOUNT } from '../harness/control-plane.ts'
import { FAST, type ReplicaOptions } from '../harness/replica.ts'
import { ApiServerScene, type Place } from '../harness/scene.ts'
import { type Version, type Watch, watchObjects } from '../harness/watch.ts'

export type Mode = 'label' | 'slice'

const ROLE = 'langflow-leader/role'
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

/** Each replica has a Pod object that nobody runs, and the rights of its mode. */
export class TrafficScene extends ApiServerScene {
  readonly mode: Mode
  /** Of the objects that lead traffic. */
  readonly objects: Watch
  private addresses = 0

  private constructor(mode: Mode, objects: Watch, place: Place) {
    super(...place)
    this.mode = mode
    this.objects = objects
    this.atEnd(() => objects.close())
  }

  /** `without`: a verb that the Role lacks. */
  static async start(
    t: TestContext,
    plane: ControlPlane,
    mode: Mode,
    without?: string,
  ): Promise<TrafficScene> {
    const place = await ApiServerScene.place(plane)
    const of = `namespaces/${place[1]}`
    const path = mode === 'label' ? `/api/v1/${of}/pods` : `/apis/discovery.k8s.io/v1/${of}/endpointslices`
    const scene = new TrafficScene(mode, await watchObjects(plane, path), place)
    t.after(() => scene.close())
    await scene.grant(without)
    if (mode === 'slice') await scene.applySlice()
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
    await this.apply(
      { apiVersion, kind: 'Role', metadata, rules },
      { apiVersion, kind: 'RoleBinding', metadata, roleRef, subjects },
    )
  }

  async applySlice(): Promise<void> {
    const file = join(COMPONENTS, 'traffic-slice/endpoint-slice.yaml')
    await this.apply(parse(readFileSync(file, 'utf8')) as object)
  }

  /** The pods that traffic is led to by one version of an object. */
  leadsTo(object: KubeObject, name: string): boolean {
    if (this.mode === 'label')
      return object.metadata.name === name && object.metadata.labels?.[ROLE] === 'leader'
    const endpoints = (object.endpoints ?? []) as { targetRef?: { name: string } }[]
    return endpoints.some(({ targetRef }) => targetRef?.name === name)
  }

  opened(name: string, from = 0): Promise<Version> {
    return this.objects.next(`traffic to ${name}`, ({ object }) => this.leadsTo(object, name), from)
  }

  closed(name: string, from: number): Promise<Version> {
    const isClosed = ({ object }: Version) =>
      (this.mode === 'slice' || object.metadata.name === name) && !this.leadsTo(object, name)
    return this.objects.next(`the end of traffic to ${name}`, isClosed, from)
  }

  /** Which pods traffic is led to, after each version that was seen, one after the other. */
  history(): string[][] {
    const leads = new Map<string, boolean>()
    return this.objects.versions.map(({ object }) => {
      if (this.mode === 'slice') for (const name of ['a', 'b']) leads.set(name, this.leadsTo(object, name))
      else leads.set(object.metadata.name, this.leadsTo(object, object.metadata.name))
      return [...leads].flatMap(([name, yes]) => (yes ? [name] : []))
    })
  }

  protected override async prepare(name: string, { flags = FAST, ...more }: Partial<ReplicaOptions>) {
    const containers = [{ name: 'langflow', image: 'langflow' }]
    await this.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { containers } })
    const { stdout: uid } = await this.kubectl('get', 'pod', name, '-o', 'jsonpath={.metadata.uid}')
    const env = { POD_NAME: name, POD_UID: uid, POD_IP: `10.9.0.${++this.addresses}` }
    return super.prepare(name, { ...more, flags: [...flags, `--traffic=${this.mode}`], env })
  }
}

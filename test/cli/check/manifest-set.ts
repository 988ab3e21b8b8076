import { stringify } from 'yaml'
import { manifestsIn, named, only } from '../../deploy/manifests.ts'

// biome-ignore lint/suspicious/noExplicitAny: the tests change any field that a rule reads.
export type Loose = any

/** Kinds of which each installation has its own. */
const OF_AN_INSTALLATION = [
  'Deployment',
  'StatefulSet',
  'Lease',
  'NetworkPolicy',
  'PodDisruptionBudget',
  'Role',
  'RoleBinding',
  'Secret',
  'Service',
  'ServiceAccount',
]

const WORKLOADS = new Set(['Deployment', 'StatefulSet'])

/** The manifests of one installation named `langflow` or `app`, open to any edit. */
export class ManifestSet {
  objects: Loose[]

  constructor(objects: readonly object[]) {
    this.objects = structuredClone([...objects])
  }

  /** The only object of this kind, or of this kind and name. */
  get(kind: string, name?: string): Loose {
    return only(this.objects, kind, name)
  }

  get workload(): Loose {
    const workloads = this.objects.filter(({ kind }) => WORKLOADS.has(kind))
    return workloads.find(hasAgent) ?? workloads[0]
  }

  get pod(): Loose {
    return this.workload.spec.template.spec
  }

  get langflow(): Loose {
    return this.pod.containers[0]
  }

  get agent(): Loose {
    return named(this.pod.initContainers, 'agent')
  }

  get install(): Loose {
    return named(this.pod.initContainers, 'install')
  }

  /** The values of the Secret from which LangFlow has its variables. */
  get secret(): Loose {
    return this.objects.find(({ kind }) => kind === 'Secret').stringData
  }

  /** The Service for users. */
  get service(): Loose {
    return this.get('Service', this.workload.metadata.name)
  }

  /** The headless Service by which the agents find each other. */
  get members(): Loose {
    return this.get('Service', `${this.workload.metadata.name}-members`)
  }

  /** Adds objects, and returns the first. */
  add(yaml: string): Loose {
    const added = manifestsIn(yaml)
    this.objects.push(...added)
    return added[0]
  }

  drop(kind: string, name?: string): void {
    const dropped = this.get(kind, name)
    this.objects = this.objects.filter((object) => object !== dropped)
  }

  /** Writes a namespace into every object. */
  intoNamespace(namespace: string): void {
    for (const { metadata } of this.objects) metadata.namespace = namespace
  }

  /** Adds all objects a second time, in this namespace. */
  addCopy(namespace: string): ManifestSet {
    const copy = new ManifestSet(this.objects)
    copy.intoNamespace(namespace)
    this.objects.push(...copy.objects)
    return copy
  }

  /** Adds a second, independent installation of this name, which shares nothing with the first. */
  addTwin(name: string): ManifestSet {
    const twin = new ManifestSet(this.objects.filter(({ kind }) => OF_AN_INSTALLATION.includes(kind)))
    const renamed = JSON.stringify(twin.objects)
      .replaceAll(/"langflow-(leader-lock|leader|members|members:8090)"/g, `"${name}-$1"`)
      .replaceAll(/"(app\.kubernetes\.io\/(?:name|instance))":"langflow"/g, `"$1":"${name}"`)
    twin.objects = JSON.parse(renamed, (key, value) =>
      key === 'secretKeyRef' || (key === 'metadata' && value.name === 'langflow')
        ? { ...value, name }
        : value,
    )
    twin.secret['database-url'] = `postgresql://user:password@host/${name}`
    setVariable(twin.agent, 'LEADER_LEASE_NAME', `${name}-leader-lock`)
    this.objects.push(...twin.objects)
    return twin
  }

  /** The stream, for readers of YAML 1.1 such as kubectl, for whom a bare Off is false. */
  text(): string {
    return this.objects.map((object) => stringify(object, { version: '1.1' })).join('---\n')
  }
}

/** Sets a variable of a container, in place of an earlier definition. */
export function setVariable(container: Loose, name: string, value: string | object): void {
  dropVariable(container, name)
  container.env.push(typeof value === 'string' ? { name, value } : { name, valueFrom: value })
}

export function dropVariable(container: Loose, name: string): void {
  container.env = (container.env ?? []).filter((one: Loose) => one.name !== name)
}

export function mountOf(container: Loose, volume: string): Loose {
  return named(container.volumeMounts, volume)
}

export function dropMount(container: Loose, volume: string): void {
  container.volumeMounts = container.volumeMounts.filter((mount: Loose) => mount.name !== volume)
}

export function volumeOf(pod: Loose, name: string): Loose {
  return named(pod.volumes, name)
}

/** Sets the source of an emptyDir volume. */
export function setVolume(pod: Loose, name: string, source: object): void {
  const volume = volumeOf(pod, name)
  delete volume.emptyDir
  Object.assign(volume, source)
}

function hasAgent({ spec }: Loose): boolean {
  return (spec.template.spec.initContainers ?? []).some(({ name }: Loose) => name === 'agent')
}

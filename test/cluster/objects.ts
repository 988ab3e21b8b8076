import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { parseAllDocuments } from 'yaml'
import type { Kube } from './kube.ts'

/** Of what the API server knows of a pod: what the tests read. */
export interface Pod {
  readonly metadata: {
    readonly name: string
    readonly uid: string
    readonly labels: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
    readonly deletionTimestamp?: string
  }
  readonly spec: { readonly nodeName?: string }
  readonly status: {
    readonly phase: string
    readonly podIP?: string
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
    readonly containerStatuses?: readonly ContainerStatus[]
    readonly initContainerStatuses?: readonly ContainerStatus[]
  }
}

export interface ContainerStatus {
  readonly name: string
  readonly containerID?: string
  readonly restartCount: number
}

export interface List<T> {
  readonly items: readonly T[]
}

export interface EndpointSlice {
  readonly endpoints: readonly {
    readonly addresses: readonly string[]
    readonly conditions: {
      readonly ready?: boolean
      readonly serving?: boolean
      readonly terminating?: boolean
    }
  }[]
}

export interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string; labels?: Record<string, string> }
  // biome-ignore lint/suspicious/noExplicitAny: each kind has its own; what is changed is named where it is.
  [field: string]: any
}

export function isReady({ status }: Pod): boolean {
  return status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') ?? false
}

/** As the agent names itself. */
export function identityOf({ metadata: { name, uid } }: Pod): string {
  return `${name}_${uid}`
}

const DEPLOY = join(import.meta.dirname, '../../deploy')

export interface Overlay {
  /** A directory of deploy/. */
  readonly base: 'base' | 'production'
  /** Directories of deploy/components/. */
  readonly components: readonly string[]
  /** Instead of the images that the manifests name. */
  readonly images: Readonly<Record<string, string>>
}

/** What `kubectl apply -k` would apply of an overlay over deploy/. */
export async function renderOverlay(kube: Kube, { base, components, images }: Overlay): Promise<Manifest[]> {
  // As kustomize resolves it: it refuses absolute paths.
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'overlay-')))
  try {
    mkdirSync(directory, { recursive: true })
    const kustomization = {
      apiVersion: 'kustomize.config.k8s.io/v1beta1',
      kind: 'Kustomization',
      resources: [relative(directory, join(DEPLOY, base))],
      components: components.map((name) => relative(directory, join(DEPLOY, 'components', name))),
      images: Object.entries(images).map(([name, image]) => {
        const colon = image.lastIndexOf(':')
        return { name, newName: image.slice(0, colon), newTag: image.slice(colon + 1) }
      }),
    }
    writeFileSync(join(directory, 'kustomization.yaml'), JSON.stringify(kustomization))
    const text = await kube.kubectl(['kustomize', directory])
    return parseAllDocuments(text).map((document) => document.toJS() as Manifest)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** The one of this kind and name. Throws where there is none. */
export function pick(manifests: readonly Manifest[], kind: string, name: string): Manifest {
  const found = manifests.find((one) => one.kind === kind && one.metadata.name === name)
  if (found === undefined) throw new Error(`the manifests have no ${kind} ${name}`)
  return found
}

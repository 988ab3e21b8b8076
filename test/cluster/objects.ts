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

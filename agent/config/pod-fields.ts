import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { parseIdentity } from './values.ts'

/** The fields of the downward API of this agent's pod. `null`: the manifest does not request the field. */
export interface Pod {
  readonly name: string | null
  readonly uid: string | null
  readonly ip: string | null
  /** The version of the template that the pod was created from, which is the same for all pods of one rollout. */
  readonly revision: string | null
  /** The controller of the pod, as `Deployment/name` or `StatefulSet/name`. */
  readonly owner: string | null
  /** The missing part of the manifest, and the consequence. `null`: nothing is missing. */
  readonly problem: string | null
}

/** Variables of the agent's container, and the fields of the downward API that they come from. */
export const FIELDS = {
  name: { variable: 'POD_NAME', path: 'metadata.name' },
  uid: { variable: 'POD_UID', path: 'metadata.uid' },
  ip: { variable: 'POD_IP', path: 'status.podIP' },
} as const

/** `named`: this replica was given an identity. `hasPeers`: it asks others. */
export function podOf(env: NodeJS.ProcessEnv, otherwise: { named: boolean; hasPeers: boolean }): Pod {
  const name = env.POD_NAME || null
  const template = env.POD_TEMPLATE_HASH || null
  const controller = env.CONTROLLER_REVISION_HASH || null
  return {
    name,
    uid: env.POD_UID || null,
    ip: env.POD_IP || null,
    revision: template ?? controller,
    owner: name === null ? null : ownerOf(name, template, controller),
    problem: env.KUBERNETES_SERVICE_HOST ? lackOf(env, otherwise) : null,
  }
}

function lackOf(env: NodeJS.ProcessEnv, { named, hasPeers }: Parameters<typeof podOf>[1]): string | null {
  if (!env.POD_NAME && !named)
    return (
      'this pod does not say who it is: add POD_NAME (metadata.name) and POD_UID (metadata.uid) to the agent’s env by ' +
      'valueFrom.fieldRef; without them a restarted agent cannot take its term back, and LangFlow is restarted with it'
    )
  // If the manifest requests them and both are empty, the pod has no revision, because no controller created it.
  if (!hasPeers || env.POD_TEMPLATE_HASH !== undefined || env.CONTROLLER_REVISION_HASH !== undefined)
    return null
  return (
    "this pod does not say of which revision it is: add POD_TEMPLATE_HASH (metadata.labels['pod-template-hash']) and " +
    "CONTROLLER_REVISION_HASH (metadata.labels['controller-revision-hash']) to the agent’s env by valueFrom.fieldRef; " +
    'without them no leader makes way for a newer revision, and a rollout may not end'
  )
}

/** Derived from the names that the controllers give. `null`: the name is so long that they shortened it. */
function ownerOf(pod: string, template: string | null, controller: string | null): string | null {
  if (template !== null) {
    const end = pod.lastIndexOf(`-${template}-`)
    return end > 0 ? `Deployment/${pod.slice(0, end)}` : null
  }
  const [, set] = /^(.+)-\d+$/.exec(pod) ?? []
  return set !== undefined && controller?.startsWith(`${set}-`) ? `StatefulSet/${set}` : null
}

/**
 * The identity of this replica without `--identity`. It is the pod's name and UID, so that two pods never share one and
 * a restarted agent in the same pod has the same. Outside a pod, it is a random one for each process. Throws an Error
 * if only one of name and UID is set.
 */
export function defaultIdentity(env: NodeJS.ProcessEnv): string {
  const { POD_NAME: name = '', POD_UID: uid = '' } = env
  if (name !== '' && uid !== '') return parseIdentity(`${name}_${uid}`)
  if (name === '' && uid === '') return `${hostname()}_${randomUUID()}`
  const [present, absent] = name === '' ? [FIELDS.uid, FIELDS.name] : [FIELDS.name, FIELDS.uid]
  throw new Error(
    `${present.variable} is set but ${absent.variable} is not: add ${absent.variable} to the container's env with ` +
      `valueFrom.fieldRef.fieldPath ${absent.path}, or set --identity`,
  )
}

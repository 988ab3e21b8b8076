import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { parseIdentity } from './values.ts'

/** The downward API's fields of this agent's pod. A field is `null` if the manifest does not request it. */
export interface Pod {
  readonly name: string | null
  readonly uid: string | null
  readonly ip: string | null
  /** The hash of the pod's template: all pods of one rollout share it. */
  readonly revision: string | null
  readonly owner: string | null
}

export const FIELDS = {
  name: { variable: 'POD_NAME', path: 'metadata.name' },
  uid: { variable: 'POD_UID', path: 'metadata.uid' },
  ip: { variable: 'POD_IP', path: 'status.podIP' },
} as const

export function podFields(env: NodeJS.ProcessEnv): Pod {
  const name = env.POD_NAME || null
  const template = env.POD_TEMPLATE_HASH || null
  const controller = env.CONTROLLER_REVISION_HASH || null
  return {
    name,
    uid: env.POD_UID || null,
    ip: env.POD_IP || null,
    revision: template ?? controller,
    owner: name === null ? null : ownerOf(name, template, controller),
  }
}

/** The owner, read from the pod's name; `null` if the controller has shortened a long name. */
function ownerOf(pod: string, template: string | null, controller: string | null): string | null {
  if (template !== null) {
    const end = pod.lastIndexOf(`-${template}-`)
    return end > 0 ? `Deployment/${pod.slice(0, end)}` : null
  }
  const [, set] = /^(.+)-\d+$/.exec(pod) ?? []
  return set !== undefined && controller?.startsWith(`${set}-`) ? `StatefulSet/${set}` : null
}

/**
 * The identity of this replica without `--identity`. In a pod, it consists of the pod's name and UID: two pods never share an
 * identity, and a restarted agent keeps it. Outside of a pod, each process has a random identity. Throws an Error if only one of
 * name and UID is set.
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

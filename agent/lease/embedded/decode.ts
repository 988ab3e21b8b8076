import type { Lease, LeaseSpec } from '../lease.ts'
import { badRequest, type Invalid, invalid, undecodable } from './status.ts'

export type Json = Record<string, unknown>

/** The one form of time that the API server takes: exactly six digits, any offset. It answers in UTC. */
const MICRO_TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{6})(Z|[+-]\d\d:\d\d)$/
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const ANNOTATION_KEY = /^([a-z0-9.-]+\/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/
const MAX_INT32 = 2 ** 31 - 1

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Reads a request's body as a JSON object. Throws 400. */
export function parseObject(text: string): Json {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw unrecognised((error as Error).message)
  }
  if (!isObject(value)) throw unrecognised('the body is not an object')
  return value
}

const unrecognised = (why: string) =>
  badRequest(
    `the object provided is unrecognized (must be of type Lease): couldn't get version/kind; json parse error: ${why}`,
  )

const unmarshal = (value: unknown, field: string, type: string) => {
  const kind = Array.isArray(value) ? 'array' : value === true || value === false ? 'bool' : typeof value
  const shown = kind === 'number' && type !== 'string' ? `number ${value}` : kind
  return undecodable(`json: cannot unmarshal ${shown} into Go struct field ${field} of type ${type}`)
}

function text(from: Json, key: string, owner: string): string | undefined {
  const value = from[key] ?? undefined
  if (value !== undefined && typeof value !== 'string') throw unmarshal(value, `${owner}.${key}`, 'string')
  return value
}

function int32(from: Json, key: string): number | undefined {
  const value = from[key] ?? undefined
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isInteger(value) || Math.abs(value) > MAX_INT32)
    throw unmarshal(value, `LeaseSpec.spec.${key}`, 'int32')
  return value
}

function microTime(from: Json, key: string): string | undefined {
  const value = text(from, key, 'LeaseSpec.spec')
  if (value === undefined) return undefined
  const parts = MICRO_TIME.exec(value)
  const seconds = parts && Date.parse(`${parts[1]}${parts[3]}`)
  if (!parts || seconds === null || Number.isNaN(seconds))
    throw undecodable(`parsing time "${value}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse it`)
  return `${new Date(seconds).toISOString().slice(0, 19)}.${parts[2]}Z`
}

function strings(from: Json, key: string): Record<string, string> | undefined {
  const value = from[key] ?? undefined
  if (value === undefined) return undefined
  if (!isObject(value)) throw unmarshal(value, `ObjectMeta.metadata.${key}`, 'map[string]string')
  for (const each of Object.values(value))
    if (typeof each !== 'string') throw unmarshal(each, `ObjectMeta.metadata.${key}`, 'string')
  return Object.keys(value).length === 0 ? undefined : (value as Record<string, string>)
}

/** Leaves out what has no value, as the API server does when it answers. */
function present<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T
}

/** What a client may say in a Lease, with unknown fields dropped and times normalised. Throws 400. */
export function decodeLease(body: Json): Lease {
  const kind = body.kind ?? 'Lease'
  const version = body.apiVersion ?? 'coordination.k8s.io/v1'
  if (kind !== 'Lease' || version !== 'coordination.k8s.io/v1')
    throw undecodable(`${kind} of ${version} is another kind of object`)
  const meta = body.metadata ?? {}
  if (!isObject(meta)) throw unmarshal(meta, 'Lease.metadata', 'v1.ObjectMeta')
  const spec = body.spec ?? {}
  if (!isObject(spec)) throw unmarshal(spec, 'Lease.spec', 'v1.LeaseSpec')
  const own = 'ObjectMeta.metadata'
  return {
    metadata: present({
      name: text(meta, 'name', own),
      generateName: text(meta, 'generateName', own),
      namespace: text(meta, 'namespace', own),
      uid: text(meta, 'uid', own),
      resourceVersion: text(meta, 'resourceVersion', own),
      labels: strings(meta, 'labels'),
      annotations: strings(meta, 'annotations'),
      ownerReferences:
        Array.isArray(meta.ownerReferences) && meta.ownerReferences.length > 0
          ? meta.ownerReferences
          : undefined,
    }) as Lease['metadata'],
    spec: present({
      holderIdentity: text(spec, 'holderIdentity', 'LeaseSpec.spec'),
      leaseDurationSeconds: int32(spec, 'leaseDurationSeconds'),
      acquireTime: microTime(spec, 'acquireTime'),
      renewTime: microTime(spec, 'renewTime'),
      leaseTransitions: int32(spec, 'leaseTransitions'),
    }) as LeaseSpec,
  }
}

/** Throws 422 for what may not be stored. */
export function validateLease(lease: Lease): void {
  const { metadata, spec } = lease
  const broken: Invalid[] = []
  const refuse = (field: string, value: unknown, why: string) =>
    broken.push({ field, message: `Invalid value: ${JSON.stringify(value)}: ${why}` })
  const name = metadata.name ?? ''
  if (name === '')
    broken.push({
      field: 'metadata.name',
      message: 'Required value: name or generateName is required',
      reason: 'FieldValueRequired',
    })
  else if (!SUBDOMAIN.test(name) || name.length > 253)
    refuse(
      'metadata.name',
      name,
      'a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters',
    )
  for (const key of Object.keys(metadata.annotations ?? {}))
    if (!ANNOTATION_KEY.test(key))
      refuse('metadata.annotations', key, 'name part must consist of alphanumeric characters')
  const { leaseDurationSeconds, leaseTransitions } = spec ?? {}
  if (leaseDurationSeconds !== undefined && leaseDurationSeconds! <= 0)
    refuse('spec.leaseDurationSeconds', leaseDurationSeconds, 'must be greater than 0')
  if (leaseTransitions !== undefined && leaseTransitions! < 0)
    refuse('spec.leaseTransitions', leaseTransitions, 'must be greater than or equal to 0')
  if (broken.length > 0) throw invalid(name, broken)
}

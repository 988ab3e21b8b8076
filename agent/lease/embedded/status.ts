/**
 * The error bodies of kube-apiserver, as it was seen to send them (1.37). Messages keep its form, since clients
 * and people recognise errors by them.
 */

export const GROUP = 'coordination.k8s.io'

export interface StatusDetails {
  name?: string
  group?: string
  kind?: string
  uid?: string
  causes?: { reason: string; message: string; field: string }[]
  retryAfterSeconds?: number
}

/** A request that ends with a `Status` object. */
export class ApiStatus extends Error {
  readonly code: number
  readonly reason: string | undefined
  readonly details: StatusDetails | undefined
  constructor(code: number, reason: string | undefined, message: string, details?: StatusDetails) {
    super(message)
    this.code = code
    this.reason = reason
    this.details = details
  }

  /** The `Status` object itself; a field without a value is left out. */
  body(): Record<string, unknown> {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: this.message,
      reason: this.reason,
      details: this.details,
      code: this.code,
    }
  }
}

/** One broken rule of validation. */
export interface Invalid {
  field: string
  message: string
  reason?: 'FieldValueInvalid' | 'FieldValueRequired'
}

const named = (name: string): StatusDetails => ({ name, group: GROUP, kind: 'leases' })

export const notFound = (name: string) =>
  new ApiStatus(404, 'NotFound', `leases.${GROUP} "${name}" not found`, named(name))

export const alreadyExists = (name: string) =>
  new ApiStatus(409, 'AlreadyExists', `leases.${GROUP} "${name}" already exists`, named(name))

export const conflict = (name: string, why = MODIFIED) =>
  new ApiStatus(
    409,
    'Conflict',
    `Operation cannot be fulfilled on leases.${GROUP} "${name}": ${why}`,
    named(name),
  )

const MODIFIED = 'the object has been modified; please apply your changes to the latest version and try again'

/** An update that names a uid which the stored object does not have; '' where there is no object. */
export const wrongUid = (namespace: string, name: string, asked: string, stored: string) =>
  conflict(
    name,
    `StorageError: invalid object, Code: 4, Key: /registry/leases/${namespace}/${name}, ResourceVersion: 0, ` +
      `AdditionalErrorMsg: Precondition failed: UID in precondition: ${asked}, UID in object meta: ${stored}`,
  )

export function invalid(name: string, broken: readonly Invalid[], kind: 'Lease' | 'leases' = 'Lease') {
  const texts = broken.map((one) => `${one.field}: ${one.message}`)
  const subject = kind === 'Lease' ? `Lease.${GROUP}` : `leases.${GROUP}`
  const causes = broken.map((one) => ({
    reason: one.reason ?? 'FieldValueInvalid',
    message: one.message,
    field: one.field,
  }))
  const text = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`
  const details = { ...(name === '' ? {} : { name }), group: GROUP, kind, causes }
  return new ApiStatus(422, 'Invalid', `${subject} "${name}" is invalid: ${text}`, details)
}

export const badRequest = (message: string) => new ApiStatus(400, 'BadRequest', message)

export const undecodable = (why: string) =>
  badRequest(`Lease in version "v1" cannot be handled as a Lease: ${why}`)

export const unknownPath = () =>
  new ApiStatus(404, 'NotFound', 'the server could not find the requested resource', {})

export const methodNotAllowed = () =>
  new ApiStatus(
    405,
    'MethodNotAllowed',
    'the server does not allow this method on the requested resource',
    {},
  )

export const unsupportedMediaType = (message: string) => new ApiStatus(415, 'UnsupportedMediaType', message)

export const expired = (asked: bigint, oldest: bigint) =>
  new ApiStatus(410, 'Expired', `too old resource version: ${asked} (${oldest})`)

export const badVersion = (text: string) => {
  const why = `strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`
  return new ApiStatus(500, undefined, `resourceVersion: Invalid value: ${JSON.stringify(text)}: ${why}`)
}

import type { Lease } from '../lease.ts'
import { decodeLease, isObject, type Json, parseObject } from './decode.ts'
import { applyPatch } from './patch.ts'
import { type ApiRequest, selectorOf } from './request.ts'
import {
  ApiStatus,
  badRequest,
  GROUP,
  invalid,
  methodNotAllowed,
  unknownPath,
  unsupportedMediaType,
} from './status.ts'
import type { LeaseStore } from './store.ts'

export interface Answer {
  readonly code: number
  readonly body: unknown
}

/** Answers everything about Leases but a watch. Throws `ApiStatus`. */
export function answerLeases(store: LeaseStore, request: ApiRequest, body: string): Answer {
  const dryRun = request.query.get('dryRun')
  if (!dryRun) return answer(store, request, body)
  if (dryRun !== 'All')
    throw invalid('', [
      { field: 'dryRun', message: `Unsupported value: "${dryRun}": supported values: "All"` },
    ])
  return store.dryRun(() => answer(store, request, body))
}

function answer(store: LeaseStore, request: ApiRequest, body: string): Answer {
  const { namespace, name } = request
  if (request.target === 'collection') {
    if (request.verb === 'list') return { code: 200, body: list(store, request) }
    if (request.verb !== 'create') throw methodNotAllowed()
    if (namespace === undefined) throw methodNotAllowed()
    return { code: 201, body: store.create(namespace, decodeBody(request, body)) }
  }
  if (request.target === undefined || namespace === undefined || name === undefined) throw unknownPath()
  switch (request.verb) {
    case 'get':
      return { code: 200, body: store.get(namespace, name) }
    case 'update': {
      const { lease, created } = store.update(namespace, name, sameName(name, decodeBody(request, body)))
      return { code: created ? 201 : 200, body: lease }
    }
    case 'patch':
      return { code: 200, body: patch(store, request, namespace, name, body) }
    case 'delete':
      return { code: 200, body: remove(store, namespace, name, body) }
    default:
      throw methodNotAllowed()
  }
}

function list(store: LeaseStore, request: ApiRequest) {
  // Items of a list carry no kind of their own.
  const items = store.list(selectorOf(request)).map(({ metadata, spec }) => ({ metadata, spec }))
  const metadata = { resourceVersion: `${store.version}` }
  return { kind: 'LeaseList', apiVersion: `${GROUP}/v1`, metadata, items }
}

function patch(store: LeaseStore, request: ApiRequest, namespace: string, name: string, body: string): Lease {
  const stored = store.get(namespace, name)
  const patched = applyPatch(stored as unknown as Json, request.contentType, body)
  let lease: Lease
  try {
    lease = decodeLease(patched)
  } catch (error) {
    const message = `Invalid value: ${JSON.stringify(JSON.stringify(patched))}: ${(error as Error).message}`
    throw invalid('', [{ field: 'patch', message }])
  }
  const { uid } = lease.metadata
  if (uid !== stored.metadata.uid)
    throw invalid(name, [{ field: 'metadata.uid', message: `Invalid value: "${uid}": field is immutable` }])
  return store.update(namespace, name, sameName(name, inNamespace(namespace, lease))).lease
}

function remove(store: LeaseStore, namespace: string, name: string, body: string) {
  const options = body === '' ? {} : parseObject(body)
  const gone = store.delete(namespace, name, isObject(options.preconditions) ? options.preconditions : {})
  const details = { name, group: GROUP, kind: 'leases', uid: gone.metadata.uid }
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details }
}

const MEDIA_TYPES =
  'the body of the request was in an unknown format - accepted media types include: application/json'

function decodeBody(request: ApiRequest, body: string): Lease {
  if (request.contentType !== '' && request.contentType !== 'application/json')
    throw unsupportedMediaType(MEDIA_TYPES)
  return inNamespace(request.namespace!, decodeLease(parseObject(body)))
}

function inNamespace(namespace: string, lease: Lease): Lease {
  if ((lease.metadata.namespace ?? namespace) !== namespace)
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request')
  return lease
}

function sameName(name: string, lease: Lease): Lease {
  if (!lease.metadata.name)
    throw badRequest(
      `the name of the object (${name} based on URL) was undeterminable: name must be provided`,
    )
  if (lease.metadata.name !== name)
    throw badRequest(
      `the name of the object (${lease.metadata.name}) does not match the name on the URL (${name})`,
    )
  return lease
}

/** For `catch`: what went wrong as a `Status`; a mistake of our own is a 500, never a crash. */
export const statusOf = (error: unknown): ApiStatus =>
  error instanceof ApiStatus
    ? error
    : new ApiStatus(500, 'InternalError', `Internal error occurred: ${(error as Error).message}`)

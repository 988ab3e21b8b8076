import type { Json } from './decode.ts'
import { isObject } from './decode.ts'
import { ApiStatus, badRequest, unsupportedMediaType } from './status.ts'

/** RFC 7386. */
function merge(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch
  const result: Json = isObject(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch))
    if (value === null) delete result[key]
    else result[key] = merge(result[key], value)
  return result
}

const rejected = () =>
  new ApiStatus(422, 'Invalid', 'the server rejected our request due to an error in our request', {})

/** RFC 6902 on the nested objects of a Lease: add, replace, remove and test of a member. */
function applyOperations(target: Json, operations: unknown): Json {
  if (!Array.isArray(operations))
    throw badRequest('error decoding patch: json: cannot unmarshal object into a list')
  const result = structuredClone(target)
  for (const operation of operations as { op?: string; path?: string; value?: unknown }[]) {
    const path = (operation.path ?? '').split('/').slice(1)
    const keys = path.map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
    const last = keys.pop()
    let parent: unknown = result
    for (const key of keys) parent = isObject(parent) ? parent[key] : undefined
    if (last === undefined || !isObject(parent)) throw rejected()
    const known = Object.hasOwn(parent, last)
    if (operation.op === 'add') parent[last] = operation.value
    else if (operation.op === 'replace' && known) parent[last] = operation.value
    else if (operation.op === 'remove' && known) delete parent[last]
    else if (operation.op !== 'test' || JSON.stringify(parent[last]) !== JSON.stringify(operation.value))
      throw rejected()
  }
  return result
}

/**
 * Applies a patch of the given content type. For what a Lease holds, a strategic merge patch is a merge patch.
 * Throws 400, 415 or 422.
 */
export function applyPatch(target: Json, contentType: string, text: string): Json {
  let patch: unknown
  try {
    patch = JSON.parse(text)
  } catch {
    throw badRequest('invalid JSON patch')
  }
  switch (contentType) {
    case 'application/json-patch+json':
      return applyOperations(target, patch)
    case 'application/merge-patch+json':
    case 'application/strategic-merge-patch+json':
      if (!isObject(patch)) throw badRequest('error decoding patch: json: cannot unmarshal it into a map')
      return merge(target, patch) as Json
    default:
      throw unsupportedMediaType('415: Unsupported Media Type')
  }
}

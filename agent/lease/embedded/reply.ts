import type { ServerResponse } from 'node:http'
import type { FaultStatus } from './faults.ts'
import type { ApiRequest } from './request.ts'
import { ApiStatus, alreadyExists, conflict, GROUP } from './status.ts'

export function sendJson(response: ServerResponse, code: number, body: unknown): void {
  send(response, code, 'application/json', JSON.stringify(body))
}

export function sendText(response: ServerResponse, code: number, text: string): void {
  send(response, code, 'text/plain; charset=utf-8', text)
}

function send(response: ServerResponse, code: number, type: string, text: string): void {
  response.writeHead(code, {
    'cache-control': 'no-cache, private',
    'content-type': type,
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}

/**
 * Answers with an error as kube-apiserver words it. Two of its answers are no proper `Status`: too many requests
 * is plain text, and a timeout of its own is sent as text and without a kind.
 */
export function sendFault(
  response: ServerResponse,
  request: ApiRequest,
  code: FaultStatus,
  retryAfter = 1,
): void {
  if (code === 429) {
    response.setHeader('retry-after', retryAfter)
    sendText(response, 429, 'Too many requests, please try again later.\n')
  } else if (code === 504) {
    const { kind: _, apiVersion: __, ...body } = statusFor(request, code).body()
    sendText(response, 504, JSON.stringify(body))
  } else {
    sendJson(response, code, statusFor(request, code).body())
  }
}

function statusFor(request: ApiRequest, code: Exclude<FaultStatus, 429>): ApiStatus {
  const name = request.name ?? ''
  switch (code) {
    case 401:
      return new ApiStatus(401, 'Unauthorized', 'Unauthorized')
    case 403: {
      const where = request.namespace ? ` in the namespace "${request.namespace}"` : ' at the cluster scope'
      const what = `User "${request.client ?? 'system:anonymous'}" cannot ${request.verb} resource "leases"`
      const subject = name === '' ? `leases.${GROUP}` : `leases.${GROUP} "${name}"`
      const message = `${subject} is forbidden: ${what} in API group "${GROUP}"${where}`
      return new ApiStatus(403, 'Forbidden', message, { ...(name && { name }), group: GROUP, kind: 'leases' })
    }
    case 409:
      return request.verb === 'create' ? alreadyExists(name) : conflict(name)
    case 500:
      return new ApiStatus(500, 'InternalError', 'Internal error occurred: etcdserver: leader changed')
    case 503:
      return new ApiStatus(503, 'ServiceUnavailable', 'the server is currently unable to handle the request')
    case 504:
      return new ApiStatus(
        504,
        'Timeout',
        'Timeout: request did not complete within the allotted timeout',
        {},
      )
  }
}

import assert from 'node:assert/strict'
import type { Lease } from '../../agent/lease/lease.ts'
import type { LeaseClient, Reply, Target } from './conformance-client.ts'

/** One thing that the elector or an operator relies on. `name` is a Lease name which nobody else uses. */
export interface Case {
  readonly name: string
  run(client: LeaseClient, name: string, target: Target): Promise<void>
}

/** A failed request: its status, and the same in its body. */
export function failed(reply: Reply, code: number, reason: string | undefined): void {
  assert.equal(reply.status, code, reply.text)
  assert.equal(reply.contentType, 'application/json')
  const { kind, apiVersion, status, message } = reply.json
  assert.deepEqual({ kind, apiVersion, status }, { kind: 'Status', apiVersion: 'v1', status: 'Failure' })
  assert.equal(reply.json.code, code)
  assert.equal(reply.json.reason, reason)
  assert.equal(typeof message, 'string')
}

export const versionOf = (lease: Lease) => lease.metadata.resourceVersion!
export const spec = (holderIdentity: string) => ({ holderIdentity, leaseDurationSeconds: 15 })
export const RENEWED = '2024-02-03T04:05:06.123456Z'

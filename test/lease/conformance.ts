import { test } from 'node:test'
import { bodyCases } from './conformance-body.ts'
import type { Case } from './conformance-case.ts'
import { LeaseClient, type Target } from './conformance-client.ts'
import { watchCases } from './conformance-watch.ts'
import { writeCases } from './conformance-write.ts'

/**
 * What the elector and its operators rely on, run against the embedded Lease API and against kube-apiserver. Where
 * the two differ, the embedded one is wrong. These may run at the same time in one namespace; `expiryCase` may not.
 */
export const cases: readonly Case[] = [...writeCases, ...bodyCases, ...watchCases]

/** Registers one case as a test. `target` is asked when the test runs. */
export function testCase({ name, run }: Case, lease: string, target: () => Target) {
  return test(name, async () => {
    const client = new LeaseClient(target())
    try {
      await run(client, lease, target())
    } finally {
      await client.close()
    }
  })
}

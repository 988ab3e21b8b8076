import { after, before, describe, test } from 'node:test'
import {
  type EmbeddedLeaseApi,
  startEmbeddedLeaseApi,
} from '../../agent/lease/embedded/embedded-lease-api.ts'
import { type Case, requestCases } from './conformance.ts'
import { LeaseClient, type Target } from './conformance-client.ts'
import { expiryCase, watchCases } from './conformance-watch.ts'

describe('the embedded Lease API', { concurrency: true }, () => {
  let api: EmbeddedLeaseApi
  let target: Target
  before(async () => {
    api = await startEmbeddedLeaseApi()
    target = {
      url: api.urlFor('conformance'),
      namespace: 'default',
      expireHistory: async () => api.faults.compact(),
    }
  })
  after(() => api.close())

  const run = ({ name, run }: Case, index: number) =>
    test(name, async () => {
      const client = new LeaseClient(target)
      try {
        await run(client, `lease-${index}`, target)
      } finally {
        await client.close()
      }
    })
  ;[...requestCases, ...watchCases].forEach(run)

  test(expiryCase.name, async () => {
    const own = await startEmbeddedLeaseApi()
    const target = { url: own.url, namespace: 'default', expireHistory: async () => own.faults.compact() }
    const client = new LeaseClient(target)
    try {
      await expiryCase.run(client, 'lease', target)
    } finally {
      await client.close()
      await own.close()
    }
  })
})

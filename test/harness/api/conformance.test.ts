import { after, before, describe } from 'node:test'
import { conformance } from './conformance.ts'
import { type EmbeddedLeaseApi, startEmbeddedLeaseApi } from './embedded-lease-api.ts'

describe('the embedded Lease API', () => {
  let api: EmbeddedLeaseApi
  before(async () => {
    api = await startEmbeddedLeaseApi()
  })
  after(() => api.close())

  conformance(() => ({
    url: api.urlFor('conformance'),
    namespace: 'default',
    expireHistory: async () => api.faults.compact(),
  }))
})

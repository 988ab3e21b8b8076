import { after, before, describe } from 'node:test'
import { conformance } from './conformance.ts'
import { EmbeddedLeaseApi } from './embedded-lease-api.ts'

describe('the embedded Lease API', () => {
  let api: EmbeddedLeaseApi
  before(async () => {
    api = await EmbeddedLeaseApi.start()
  })
  after(() => api.close())

  conformance(() => ({ url: api.url, namespace: 'default' }))
})

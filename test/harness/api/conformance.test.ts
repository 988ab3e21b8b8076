import { after, before, describe } from 'node:test'
import { systemClock } from '../../../agent/clock.ts'
import { LeaseServer } from './api-server.ts'
import { conformance } from './conformance.ts'

describe('the embedded Lease API', () => {
  const api = new LeaseServer(systemClock)
  before(() => api.listen())
  after(() => api.close())

  conformance(() => ({ url: api.url, namespace: 'default' }))
})

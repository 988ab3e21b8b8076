import { after, before, describe } from 'node:test'
import {
  type EmbeddedLeaseApi,
  startEmbeddedLeaseApi,
} from '../../agent/lease/embedded/embedded-lease-api.ts'
import { cases, testCase } from './conformance.ts'
import { expiryCase } from './conformance-watch.ts'

describe('the embedded Lease API', () => {
  let api: EmbeddedLeaseApi
  const target = () => ({
    url: api.urlFor('conformance'),
    namespace: 'default',
    expireHistory: async () => api.faults.compact(),
  })
  before(async () => {
    api = await startEmbeddedLeaseApi()
  })
  after(() => api.close())

  describe('answers as kube-apiserver', { concurrency: true }, () => {
    cases.forEach((one, index) => {
      testCase(one, `lease-${index}`, target)
    })
  })
  testCase(expiryCase, 'expiring', target)
})

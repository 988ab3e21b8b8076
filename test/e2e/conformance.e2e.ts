import { readFileSync } from 'node:fs'
import { after, before, describe } from 'node:test'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { cases, testCase } from '../lease/conformance.ts'
import type { Target } from '../lease/conformance-client.ts'
import { expiryCase } from '../lease/conformance-watch.ts'

/** The cases of the embedded Lease API against the real one: where they differ, the embedded one is wrong. */
describe('kube-apiserver', () => {
  let plane: ControlPlane
  let target: Target
  before(async () => {
    plane = await startControlPlane()
    target = {
      url: plane.serverUrl,
      namespace: await plane.newNamespace(),
      token: plane.adminToken,
      ca: readFileSync(plane.caFile, 'utf8'),
      // A new kube-apiserver fills its watch cache from the present state: what came before is too old.
      async expireHistory() {
        await plane.stopApiServer()
        await plane.startApiServer()
      },
    }
  })
  after(() => plane?.close())

  describe('answers', { concurrency: true }, () => {
    cases.forEach((one, index) => {
      testCase(one, `lease-${index}`, () => target)
    })
  })
  // Last, and alone: it restarts the server.
  testCase(expiryCase, 'expiring', () => target)
})

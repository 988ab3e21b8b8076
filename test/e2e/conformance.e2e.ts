import { readFileSync } from 'node:fs'
import { after, before, describe } from 'node:test'
import { conformance, type Target } from '../harness/api/conformance.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'

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
      // A restarted kube-apiserver fills its watch cache from the current state, so earlier resource versions are too old.
      async expireHistory() {
        await plane.stopApiServer()
        await plane.startApiServer()
      },
    }
  })
  after(() => plane?.close())

  conformance(() => target, { forgets: true })
})

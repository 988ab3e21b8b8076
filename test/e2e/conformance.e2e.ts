import { readFileSync } from 'node:fs'
import { after, describe } from 'node:test'
import { conformance } from '../harness/api/conformance.ts'
import { startControlPlane } from '../harness/control-plane.ts'

const plane = await startControlPlane()
after(() => plane.close())

const target = {
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
describe('kube-apiserver', () => conformance(() => target, { forgets: true }))

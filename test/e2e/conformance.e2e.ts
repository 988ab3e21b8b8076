import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { type Case, requestCases } from '../lease/conformance.ts'
import { LeaseClient, type Target } from '../lease/conformance-client.ts'
import { expiryCase, watchCases } from '../lease/conformance-watch.ts'
import { type ControlPlane, startControlPlane } from './control-plane.ts'

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

  const run = ({ name, run }: Case, index: number) =>
    test(name, async () => {
      const client = new LeaseClient(target)
      try {
        await run(client, `lease-${index}`, target)
      } finally {
        await client.close()
      }
    })
  describe('answers', { concurrency: true }, () => {
    ;[...requestCases, ...watchCases].forEach(run)
  })
  // Last, and alone: it restarts the server.
  run(expiryCase, requestCases.length + watchCases.length)
})

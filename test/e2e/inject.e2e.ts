import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { manifestsIn } from '../deploy/manifests.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { fixture, injected, podOf, uninjected } from '../inject/streams.ts'

/** What `inject` writes, as a real API server takes it: strictly, and in a namespace where pods must be restricted. */
describe('injected manifests on kube-apiserver', () => {
  const NAMESPACE = 'flows'
  let plane: ControlPlane

  before(async () => {
    plane = await startControlPlane()
    const namespace = {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: NAMESPACE, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
    }
    await plane.kubectl(['create', '-f', '-'], JSON.stringify(namespace))
  })
  after(() => plane?.close())

  const apply = (text: string, ...args: string[]) =>
    plane.kubectl(['apply', '--validate=strict', `--namespace=${NAMESPACE}`, '-f', '-', ...args], text)

  for (const [name, kind, workload] of [
    ['stateful-backend', 'StatefulSet', 'flows'],
    ['runtime-deployment', 'Deployment', 'flows-langflow-runtime'],
  ] as const) {
    for (const traffic of ['readiness', 'label'] as const) {
      const text = injected(fixture(name), { traffic, standby: 'warm' })

      test(`${name}, ${traffic}: every object is taken, and has no unknown field`, async () => {
        for (const args of [[], ['--server-side']]) {
          const { stdout } = await apply(text, '--dry-run=server', ...args)
          for (const object of [
            `${kind.toLowerCase()}.apps/${workload} `,
            'lease.coordination.k8s.io/',
            'role.rbac',
          ])
            assert.ok(stdout.includes(object), `${object} in ${stdout}`)
        }
      })

      test(`${name}, ${traffic}: its pods are restricted ones`, async () => {
        // Only pods are held to it: of a template that is not, the API server only warns.
        const { volumes, ...spec } = podOf(text, kind, workload)
        const mounted = volumes.some(({ name }) => name === 'data') || name === 'runtime-deployment'
        const pod = {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'pod' },
          spec: { ...spec, volumes: mounted ? volumes : [...volumes, { name: 'data', emptyDir: {} }] },
        }
        await apply(JSON.stringify(pod), '--dry-run=server')
        const open = { ...pod, spec: { ...pod.spec, hostPID: true } }
        await assert.rejects(
          apply(JSON.stringify(open), '--dry-run=server'),
          /violates PodSecurity "restricted/,
        )
      })
    }

    test(`${name}: what is in the cluster can be injected, replaced and taken out again`, async () => {
      const get = async () =>
        (await plane.kubectl(['get', kind, workload, `--namespace=${NAMESPACE}`, '-oyaml'])).stdout
      await apply(fixture(name))
      const live = await get()
      const wrapped = injected(live, { traffic: 'label' })
      assert.deepEqual(manifestsIn(uninjected(wrapped)), manifestsIn(live))
      await apply(wrapped)
      const restored = uninjected(await get())
      assert.deepEqual(podOf(restored, kind, workload), podOf(live, kind, workload))
      await apply(fixture(name))
      assert.deepEqual(podOf(await get(), kind, workload), podOf(live, kind, workload))
    })
  }
})

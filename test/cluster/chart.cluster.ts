import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { CHART, helm, type Values } from '../deploy/helm.ts'
import { type Manifest, only } from '../deploy/manifests.ts'
import { mono } from '../harness/wait.ts'
import type { Installation } from './installation.ts'
import { assertPlanned, momentOf } from './leadership.ts'
import { scenariosOn } from './scenario.ts'

describe('a release of the chart', () => {
  let values: Values
  const run = ({ namespace }: Installation, ...args: string[]) =>
    helm(4, [...args, `--namespace=${namespace}`], values)
  const scenario = scenariosOn({
    release: 'flows',
    traffic: 'front',
    adopt: async (one, plain) => {
      // The agents make their Lease themselves, as with Argo CD.
      values = { ...valuesFor(plain), lease: { create: false } }
      await run(one, 'install', 'flows', CHART, '--values=-')
    },
  })

  for (const [what, args] of [
    ['an upgrade', ['upgrade', 'flows', CHART, '--values=-', '--set=podAnnotations.revision=two']],
    ['a rollback', ['rollback', 'flows', '1']],
  ] as const)
    scenario(`${what} waits for its end, with one handover and no failed request`, async (one, t) => {
      const { epoch, from } = await momentOf(one)
      await one.available(2)
      await run(one, ...args, '--wait', '--timeout=3m')
      t.diagnostic(`${Math.round(mono() - from)} ms`)
      await one.settled()
      assert.equal(one.lease.epoch, epoch + 1)
      assertPlanned(one, from)
      await run(one, 'test', 'flows', '--timeout=1m')
    })
})

/** Values that start the program of a plain LangFlow on a node of two cores, which pulls no images. */
function valuesFor(plain: readonly Manifest[]): Values {
  const { containers, volumes } = only(plain, 'Deployment').spec.template.spec
  const [{ image, args, volumeMounts }] = containers
  const [repository, tag] = image.split(/:(?=[^/]+$)/)
  const requests = { cpu: '10m', memory: '32Mi' }
  return {
    image: { pullPolicy: 'Never' },
    agent: { resources: { requests, limits: { memory: '512Mi' } } },
    langflow: { image: { repository, tag, pullPolicy: 'Never' }, command: args, resources: { requests } },
    extraVolumes: volumes,
    extraVolumeMounts: volumeMounts,
    // The stand-in has no database.
    extraEnv: [{ name: 'LANGFLOW_DATABASE_URL', value: 'postgresql://nobody@database.invalid/none' }],
    storage: { type: 'none' },
    standby: 'cold',
  }
}

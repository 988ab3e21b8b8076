import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { CHART, helm, type Values, type Version } from '../deploy/helm.ts'
import { type Manifest, only } from '../deploy/manifests.ts'
import { mono, until } from '../harness/wait.ts'
import { Installation } from './installation.ts'
import { Kube } from './kube.ts'
import { momentOf } from './leadership.ts'

const PROGRAM = join(import.meta.dirname, '../../agent/main.ts')
const NAMESPACE = `leader-${randomBytes(3).toString('hex')}`
/** The releases, each with its version of Helm. */
const RELEASES = { three: 3, four: 4 } as const
type Release = keyof typeof RELEASES

describe('two releases of the chart in one namespace', () => {
  const kube = new Kube()
  const values = new Map<Release, Values>()
  let three: Installation
  let four: Installation
  before(async () => {
    three = await start('three')
    four = await start('four')
  })
  after(async () => {
    await three?.close()
    await four?.close()
    await kube.close()
  })

  const start = (release: Release) =>
    Installation.start(kube, {
      release,
      namespace: NAMESPACE,
      traffic: 'front',
      adopt: async (_, plain) => {
        // The agents of one release make their Lease themselves, as with Argo CD.
        values.set(release, { ...valuesFor(plain), lease: { create: release === 'three' } })
        await run(release, 'install', release, CHART)
      },
    })
  const run = (release: Release, ...args: string[]) => {
    const input = args.includes(CHART) ? ['--values=-'] : []
    const version: Version = RELEASES[release]
    return helm(version, [...args, ...input, `--namespace=${NAMESPACE}`], values.get(release))
  }

  /** Registers a test after which only leaders must have acted, without a failed request. */
  function scenario(name: string, play: (t: TestContext) => Promise<void>): void {
    test(name, async (t) => {
      const from = mono()
      try {
        await play(t)
        for (const one of [three, four]) {
          assert.deepEqual(one.violations(), [])
          const tally = one.client.since(from)
          t.diagnostic(`${one.release}: ${JSON.stringify(tally)}`)
          assert.equal(tally.failed, 0, JSON.stringify(tally.failures))
        }
      } catch (error) {
        process.stderr.write(`${name}\n${await three.evidence()}\n${await four.evidence()}\n`)
        throw error
      }
    })
  }

  scenario('each has its own leader, and a switchover of one leaves the other alone', async () => {
    for (const [one, other] of [
      [three, four],
      [four, three],
    ] as const) {
      const [{ epoch }, before] = [await momentOf(one), await momentOf(other)]
      const args = [
        'switchover',
        '--yes',
        `--namespace=${NAMESPACE}`,
        `--lease-name=${one.release}-leader-lock`,
      ]
      await promisify(execFile)(process.execPath, [PROGRAM, ...args])
      await one.served(epoch + 1)
      await one.settled()
      assert.equal(one.lease.epoch, epoch + 1)
      const after = await momentOf(other)
      assert.deepEqual([after.epoch, after.pid], [before.epoch, before.pid])
    }
  })

  for (const [what, release, args] of [
    ['an upgrade', 'three', ['upgrade', 'three', CHART, '--set=podAnnotations.revision=two']],
    ['an upgrade', 'four', ['upgrade', 'four', CHART, '--set=podAnnotations.revision=two']],
    ['a rollback', 'four', ['rollback', 'four', '1']],
  ] as const)
    scenario(`Helm ${RELEASES[release]}: ${what} waits for its end, with one handover`, async (t) => {
      const [one, other] = release === 'three' ? [three, four] : [four, three]
      await other.settled()
      const { epoch, from } = await momentOf(one)
      await one.available(2)
      await run(release, ...args, '--wait', '--timeout=3m')
      t.diagnostic(`${Math.round(mono() - from)} ms`)
      await one.settled()
      assert.equal(one.lease.epoch, epoch + 1)
    })

  test('an uninstalled release leaves only its Lease and its Secret, and the other release serves', async () => {
    await three.client.stop()
    const from = mono()
    await run('three', 'uninstall', 'three')
    await until('the end of its pods', async () => (await three.pods()).length === 0, 60_000)
    const kinds =
      'lease,deployment,service,role,rolebinding,serviceaccount,networkpolicy,poddisruptionbudget,secret'
    const labels = '--selector=app.kubernetes.io/instance=three'
    const left = await three.kubectl('get', kinds, labels, '--output=name')
    assert.deepEqual(left.trim().split('\n'), ['lease.coordination.k8s.io/three-leader-lock', 'secret/three'])
    await four.settled()
    assert.equal(four.client.since(from).failed, 0)
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
    extraEnv: [{ name: 'LANGFLOW_DATABASE_URL', value: 'postgresql://nobody@127.0.0.1:9/none' }],
    storage: { type: 'none' },
    standby: 'cold',
  }
}

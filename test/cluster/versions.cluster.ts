import assert from 'node:assert/strict'
import { type Manifest, named } from '../deploy/manifests.ts'
import { until } from '../harness/wait.ts'
import type { Installation } from './installation.ts'
import { scenariosOn } from './scenario.ts'
import { configMap, STAND_IN, type Workload } from './workload.ts'

const OLDER = '1.12.8'
const NEWER = '1.13.0'
const ROLLED_OUT_MS = 120_000

/** What the launcher reads of an installed LangFlow: its program, its interpreter, and the metadata of its package. */
const FILES = {
  langflow: '#!/package/bin/python3\n',
  python3: '#!/bin/sh\nwhile [ "$1" != run ]; do shift; done\nshift\nexec node /stand-in/workload.mjs "$@"\n',
  [`metadata-${OLDER}`]: `Name: langflow\nVersion: ${OLDER}\n`,
  [`metadata-${NEWER}`]: `Name: langflow\nVersion: ${NEWER}\n`,
}

/** The volume of a LangFlow of that version. */
function packageOf(version: string): object {
  const items = [
    { key: 'langflow', path: 'bin/langflow' },
    { key: 'python3', path: 'bin/python3' },
    { key: `metadata-${version}`, path: 'site/langflow-0.dist-info/METADATA' },
  ]
  return { name: 'package', configMap: { name: 'package', defaultMode: 0o755, items } }
}

/** The stand-in as the `langflow` of a package that has a version. */
const VERSIONED: Workload = {
  ...STAND_IN,
  prepare(deployment, collector) {
    const beside = STAND_IN.prepare(deployment, collector)
    const { spec } = deployment.spec.template
    const langflow = named<Manifest['spec']>(spec.containers, 'langflow')
    const [, , ...args] = langflow.args
    langflow.args = ['langflow', 'run', ...args]
    langflow.env.push(
      { name: 'PATH', value: '/package/bin:/usr/local/bin:/usr/bin:/bin' },
      { name: 'PYTHONPATH', value: '/package/site' },
    )
    langflow.volumeMounts.push({ name: 'package', mountPath: '/package', readOnly: true })
    spec.volumes.push(packageOf(OLDER))
    return [...beside, configMap('package', FILES)]
  },
}

const scenario = scenariosOn({ workload: VERSIONED })

function patchPodSpec(one: Installation, spec: object): Promise<string> {
  const patch = JSON.stringify({ spec: { template: { spec } } })
  return one.kubectl('patch', one.name, '--patch', patch)
}

/** Resolves once every replica has that LangFlow, one serves, and the other could take over. */
async function rolledOut(one: Installation, version: string): Promise<void> {
  const has = async () => {
    const all = await one.statuses().catch(() => [])
    return all.length === 2 && all.every(({ langflow }) => langflow.version === version)
  }
  await until(`every replica has LangFlow ${version}`, has, ROLLED_OUT_MS)
  await one.settled()
}

scenario('kubectl rollout undo to an older LangFlow stops with the newer one serving', async (one, t) => {
  await one.settled()
  await patchPodSpec(one, { volumes: [packageOf(NEWER)] })
  await rolledOut(one, NEWER)
  const { epoch, holder } = one.lease

  await one.kubectl('rollout', 'undo', one.name)
  let problem: string | null = null
  const saysWhy = async () => {
    const older = (await one.statuses().catch(() => [])).find(({ langflow }) => langflow.outdated)
    problem = older?.problem ?? null
    return older?.couldTakeOver === false && problem !== null
  }
  await until('the older one says why it does not take over', saysWhy, ROLLED_OUT_MS)
  t.diagnostic(String(problem))
  assert.match(String(problem), /1\.12\.8 of this replica is older than 1\.13\.0.*--allow-older/)
  await assert.rejects(one.kubectl('rollout', 'status', one.name, '--timeout=5s'))
  assert.deepEqual([one.lease.epoch, one.lease.holder], [epoch, holder])
})

scenario('with --allow-older the undo goes on, with one handover', async (one) => {
  const { epoch } = one.lease
  const env = [{ name: 'LEADER_ALLOW_OLDER', value: 'true' }]
  await patchPodSpec(one, { initContainers: [{ name: 'agent', env }] })
  await rolledOut(one, OLDER)
  assert.equal(one.lease.epoch, epoch + 1)
})

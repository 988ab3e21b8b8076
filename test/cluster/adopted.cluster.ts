import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { DEPLOY, type Manifest } from '../deploy/manifests.ts'
import { until } from '../harness/wait.ts'
import type { Installation } from './installation.ts'
import { containersOf, Kube } from './kube.ts'
import { deletedLeaderHandsOver, onlyLeaderAnswers, rollsOut } from './leadership.ts'
import { scenariosOn } from './scenario.ts'
import { deploymentOf, plainLangflow } from './workload.ts'

const ROOT = join(import.meta.dirname, '../..')
const POLICIES = join(DEPLOY, 'components/auto-inject')
/** The one whose history is followed; also what auto-inject takes by default. */
const LEASE = 'langflow-leader-lock'

describe('langflow-leader inject, as docs/inject.md says', () => {
  const scenario = scenariosOn({ traffic: 'front', adopt })

  scenario('a LangFlow that ran without an agent fails over', deletedLeaderHandsOver)

  scenario('a rollout of it ends with success and one handover', rollsOut)

  scenario('taken out again, it runs without one', async (one) => {
    await one.client.stop()
    await stopped(one)
    await rewrite(one, '--uninject')
    await one.kubectl('scale', one.name, '--replicas=1')
    await one.kubectl('rollout', 'status', one.name, '--timeout=60s')
    assert.deepEqual(await containers(one), [['langflow']])
    assert.equal((await fetch(one.url)).status, 200)
  })

  async function adopt(one: Installation, plain: readonly Manifest[]): Promise<void> {
    await one.apply(plain)
    await one.kubectl('rollout', 'status', one.name, '--timeout=60s')
    assert.deepEqual(await containers(one), [['langflow'], ['langflow']])
    await stopped(one)
    await rewrite(one, '--traffic=front', `--lease-name=${LEASE}`)
    await one.kubectl('scale', one.name, '--replicas=2')
  }

  async function stopped(one: Installation): Promise<void> {
    await one.kubectl('scale', one.name, '--replicas=0')
    await one.kubectl('wait', '--for=delete', 'pods', '--all', '--timeout=60s')
  }

  /** What the cluster has, changed by `inject`, and applied. */
  async function rewrite(one: Installation, ...args: string[]): Promise<void> {
    const found = await one.kubectl('get', 'deployment,service', '--output=yaml')
    const child = spawn(process.execPath, [join(ROOT, 'agent/main.ts'), 'inject', ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    child.stdin.end(found)
    const written = await text(child.stdout)
    await one.kube.kubectl([`--namespace=${one.namespace}`, 'apply', '-f', '-'], written)
  }
})

describe('deploy/components/auto-inject', () => {
  const kube = new Kube()
  before(async () => {
    await kube.kubectl(['apply', '-k', POLICIES])
    const probe = 'auto-inject-probe'
    await kube.kubectl(['create', 'namespace', probe])
    await kube.kubectl(['apply', '-k', join(POLICIES, 'namespace'), `--namespace=${probe}`])
    const { spec, metadata } = deploymentOf(labelled(plainLangflow())).spec.template
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name: 'probe' }, spec }
    const create = ['create', '--dry-run=server', '--output=json', `--namespace=${probe}`, '-f', '-']
    await until(
      'the policies are in force',
      async () => {
        const made = await kube.kubectl(create, JSON.stringify(pod)).catch(() => null)
        return made !== null && (JSON.parse(made) as Manifest).spec.initContainers !== undefined
      },
      30_000,
    )
    await kube.kubectl(['delete', 'namespace', probe, '--wait=false'])
  })
  after(async () => {
    await kube.kubectl(['delete', '-k', POLICIES])
    await kube.close()
  })

  const scenario = scenariosOn({ adopt })

  scenario('a LangFlow whose pods have the label gets an agent, and fails over', deletedLeaderHandsOver)

  scenario('requests through the Service reach only its leader', onlyLeaderAnswers)

  async function adopt(one: Installation, plain: readonly Manifest[]): Promise<void> {
    const rendered = await kube.kubectl(['kustomize', join(POLICIES, 'namespace')])
    await one.apply(parseAllDocuments(rendered).map((document) => document.toJS() as Manifest))
    await one.apply(labelled(plain))
  }

  function labelled(manifests: readonly Manifest[]): readonly Manifest[] {
    const { metadata } = deploymentOf(manifests).spec.template
    metadata.labels = { ...metadata.labels, 'langflow-leader/inject': 'true' }
    return manifests
  }
})

async function containers(one: Installation): Promise<string[][]> {
  return (await one.pods()).map((pod) => containersOf(pod).map(({ name }) => name))
}

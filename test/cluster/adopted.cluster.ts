import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe } from 'node:test'
import type { Manifest } from '../deploy/manifests.ts'
import type { Installation } from './installation.ts'
import { containersOf } from './kube.ts'
import { deletedLeaderHandsOver, rollsOut } from './leadership.ts'
import { scenariosOn } from './scenario.ts'

const ROOT = join(import.meta.dirname, '../..')
/** The Lease that the test watches. */
const LEASE = 'langflow-leader-lock'

describe('langflow-leader inject with the steps of docs/guide/inject.md', () => {
  const scenario = scenariosOn({ traffic: 'front', adopt })
  let original: readonly Manifest[] = []

  scenario('an injected LangFlow fails over', deletedLeaderHandsOver)

  scenario('a rollout of the injected LangFlow succeeds with one handover', rollsOut)

  scenario('with the original manifests again, LangFlow runs without an agent', async (one) => {
    await one.client.stop()
    await stopped(one)
    await one.apply(original.map(withOneReplica))
    await one.kubectl('scale', one.name, '--replicas=1')
    await one.kubectl('rollout', 'status', one.name, '--timeout=60s')
    assert.deepEqual(await containers(one), [['langflow']])
    assert.equal((await fetch(one.url)).status, 200)
  })

  async function adopt(one: Installation, plain: readonly Manifest[]): Promise<void> {
    original = plain
    await one.apply(plain)
    await one.kubectl('rollout', 'status', one.name, '--timeout=60s')
    assert.deepEqual(await containers(one), [['langflow'], ['langflow']])
    await stopped(one)
    // The stand-in cannot be kept warm.
    await rewrite(one, '--standby=cold', `--lease-name=${LEASE}`)
    await one.kubectl('scale', one.name, '--replicas=2')
  }

  async function stopped(one: Installation): Promise<void> {
    await one.kubectl('scale', one.name, '--replicas=0')
    await one.kubectl('wait', '--for=delete', 'pods', '--all', '--timeout=60s')
  }

  /** Runs `inject` on the live objects, and applies its output. */
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

/** Two replicas would run at once until the `scale` that follows. */
function withOneReplica(manifest: Manifest): Manifest {
  return manifest.kind === 'Deployment' ? { ...manifest, spec: { ...manifest.spec, replicas: 1 } } : manifest
}

async function containers(one: Installation): Promise<string[][]> {
  return (await one.pods()).map((pod) => containersOf(pod).map(({ name }) => name))
}

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { LANGFLOW } from '../../agent/lease/lease.ts'
import type { Line } from '../harness/logged-process.ts'
import { FAST } from '../harness/replica.ts'
import { EmbeddedScene, LEASE } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'
import { warmLangflow } from '../harness/warm-langflow.ts'

const skip = spawnSync('python3', ['--version']).status === 0 ? false : 'there is no python3'

/** A stand-in with the metadata that an installed LangFlow has. */
function langflow(scene: EmbeddedScene, version: string) {
  const made = warmLangflow(join(scene.dir, version))
  addMetadata(made.env.PYTHONPATH as string, version)
  return { ...made, flags: [...made.flags, ...FAST] }
}

function addMetadata(modules: string, version: string): void {
  const info = join(modules, `langflow_base-${version}.dist-info`)
  mkdirSync(info, { recursive: true })
  writeFileSync(join(info, 'METADATA'), `Metadata-Version: 2.4\nName: langflow-base\nVersion: ${version}\n`)
}

test('an older LangFlow does not take over what a newer one has led, unless it may', { skip }, async (t) => {
  const scene = await EmbeddedScene.open(t)
  const [older, newer] = [langflow(scene, '1.12.8'), langflow(scene, '1.13.0')]
  const noted = () => scene.api.lease(LEASE)?.metadata.annotations?.[LANGFLOW]

  const a = await scene.replica('a', older)
  await a.event('serving')
  assert.equal(noted(), '1.12.8')
  const b = await scene.replica('b', newer)
  await b.event('standby_ready')
  a.signal('SIGTERM')
  await b.event('serving')
  assert.equal(noted(), '1.13.0')

  const c = await scene.replica('c', older)
  const why = /^LangFlow 1\.12\.8 of this replica is older than 1\.13\.0, which has led, .*--allow-older/
  const isRefusal = ({ level, msg }: Line) => level === 'warn' && why.test(msg)
  const refusal = await c.find('why it is kept away', isRefusal)
  await until('c is ready but for that', async () => (await c.status()).standby.state === 'ready')
  assert.deepEqual((await c.status()).langflow, { version: '1.12.8', newest: '1.13.0', outdated: true })
  const { status, text } = await c.get('/readyz?exclude=leadership')
  assert.equal(status, 503)
  assert.ok(text.includes(`[-]lease failed: ${refusal.msg}`), text)

  b.signal('SIGTERM')
  await b.event('released')
  assert.deepEqual([scene.holder(), noted()], ['', '1.13.0'])
  const d = await scene.replica('d', { ...older, env: { ...older.env, LEADER_ALLOW_OLDER: 'true' } })
  await d.event('serving')
  assert.equal(noted(), '1.12.8')
  await c.event('standby_ready')
  assert.ok(!c.events().includes('acquired'))
  assert.equal(c.lines.filter(isRefusal).length, 1)
})

test('a LangFlow that was replaced on the disk is started under its own version alone', {
  skip,
}, async (t) => {
  const scene = await EmbeddedScene.open(t)
  const made = langflow(scene, '1.12.8')
  const noted = () => scene.api.lease(LEASE)?.metadata.annotations?.[LANGFLOW]
  const a = await scene.replica('a', { ...made, flags: [...made.flags, '--on-crash=restart'] })
  await a.event('serving')
  const modules = made.env.PYTHONPATH as string
  const epochs = () => a.lines.filter(({ event }) => event === 'workload_started').map(({ epoch }) => epoch)

  rmSync(join(modules, 'langflow_base-1.12.8.dist-info'), { recursive: true })
  addMetadata(modules, '1.13.0')
  const from = a.lines.length
  process.kill(a.workloadPid(), 'SIGKILL')
  await a.find('why it starts none', ({ msg }) =>
    /LangFlow 1\.12\.8 was replaced by 1\.13\.0/.test(msg ?? ''),
  )
  await a.event('serving', from)
  assert.equal(noted(), '1.13.0')
  // In epoch 2 it was found out.
  assert.deepEqual(epochs(), [1, 3])
})

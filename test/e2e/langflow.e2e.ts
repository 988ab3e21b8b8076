import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { carries, readProcesses } from '../../agent/processes/proc.ts'
import { type ControlPlane, startControlPlane } from './control-plane.ts'
import { runEcho } from './langflow.ts'
import { langflowReplicas } from './langflow-replicas.ts'

let plane: ControlPlane
let dir: string

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'langflow-e2e-'))
  plane = await startControlPlane()
})

after(async () => {
  await plane?.close()
  rmSync(dir, { recursive: true, force: true })
})

test('a real LangFlow behind a real API server gives the same answer before and after a takeover', async (t) => {
  const found = await langflowReplicas(t, plane, dir)
  if (found === undefined) return
  const { start } = found
  const a = await start('a')
  const b = await start('b')
  try {
    const leader = await Promise.any(
      [a, b].map(async (replica) => (await replica.event('serving')) && replica),
    )
    const standby = leader === a ? b : a
    assert.equal((await leader.get('/readyz')).status, 200)
    assert.equal((await standby.get('/readyz')).status, 503)
    assert.equal((await standby.get('/readyz?exclude=leadership')).status, 200)
    assert.equal(await runEcho(leader.port, 'what is left of it?'), 'what is left of it?')

    const environ = readFileSync(`/proc/${leader.workloadPid()}/environ`, 'utf8').split('\0')
    assert.ok(environ.includes('LEADER_EPOCH=1'))
    assert.ok(environ.includes(`LEADER_IDENTITY=${leader.name}`))

    leader.signal('SIGTERM')
    const acquired = await standby.event('acquired')
    const released = await leader.event('released')
    assert.ok(Date.parse(acquired.time) - Date.parse(released.time) < 1_000)
    const mark = environ.find((variable) => variable.startsWith('LANGFLOW_LEADER_TREE=')) as string
    const left = [...readProcesses().keys()].filter((pid) => carries(pid, Buffer.from(`${mark}\0`)) === 'yes')
    assert.deepEqual(left, [], 'processes of the old LangFlow live on')
    assert.deepEqual(await leader.exited, { code: 0, signal: null })

    await standby.event('serving')
    assert.equal(acquired.epoch, 2)
    assert.equal(await runEcho(standby.port, 'what is left of it?'), 'what is left of it?')
  } finally {
    await Promise.all([a.stop(), b.stop()])
  }
})

test('a warm LangFlow is imported before its term, and touches nothing until then', async (t) => {
  const command = (binary: string, port: number) => [
    'sh',
    '-c',
    `exec ${binary} run --backend-only --port ${port}`,
  ]
  const found = await langflowReplicas(t, plane, dir, ['--standby=warm'], command)
  if (found === undefined) return
  const { dir: own, start } = found
  const a = await start('a')
  try {
    await a.event('serving')
    const b = await start('b')
    try {
      const ready = await b.event('standby_ready')
      assert.equal(ready.mode, 'warm')
      const { standby } = await b.status()
      assert.equal(standby.state, 'ready')
      t.diagnostic(`a warm standby holds ${Math.round((standby.memoryBytes ?? 0) / 1e6)} MB`)
      assert.deepEqual(readdirSync(join(own, 'b')), [], 'nothing of LangFlow was written before the grant')
      a.signal('SIGTERM')
      const released = await a.event('released')
      const serving = await b.event('serving')
      const ms = Date.parse(serving.time) - Date.parse(released.time)
      t.diagnostic(`from the release to the next one that serves: ${ms} ms`)
      assert.equal(await runEcho(b.port, 'what is left of it?'), 'what is left of it?')
      const environ = readFileSync(`/proc/${b.workloadPid()}/environ`, 'utf8')
      assert.match(environ, /LANGFLOW_LEADER_TREE=/)
    } finally {
      await b.stop()
    }
  } finally {
    await a.stop()
  }
})

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { carries, readProcesses } from '../../agent/processes/proc.ts'
import { freePort } from '../harness/free-port.ts'
import { langflowTests, runEcho } from '../harness/langflow.ts'

const TEXT = 'what is left of it?'
const langflowTest = langflowTests()

langflowTest(
  'a real LangFlow behind a real API server gives the same answer before and after a takeover',
  async ({ scene }) => {
    const a = await scene.replica('a')
    const b = await scene.replica('b')
    const leader = await Promise.any([a, b].map(async (replica) => (await scene.serves(replica)) && replica))
    const standby = leader === a ? b : a
    assert.equal((await leader.get('/readyz')).status, 200)
    assert.equal((await standby.get('/readyz')).status, 503)
    assert.equal((await standby.get('/readyz?exclude=leadership')).status, 200)
    assert.equal(await runEcho(leader.port, TEXT), TEXT)

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

    await scene.serves(standby)
    assert.equal(acquired.epoch, 2)
    assert.equal(await runEcho(standby.port, TEXT), TEXT)
  },
)

langflowTest(
  'a warm LangFlow is imported before its term, and touches nothing until then',
  async ({ scene }, t) => {
    const replica = async (identity: string) => {
      const port = await freePort()
      const command = ['sh', '-c', `exec ${scene.binary} run --backend-only --port ${port}`]
      return scene.replica(identity, { port, command, flags: ['--standby=warm'] })
    }
    const a = await replica('a')
    await scene.serves(a)
    const b = await replica('b')
    const ready = await scene.standsBy(b)
    assert.equal(ready.mode, 'warm')
    const { standby } = await b.status()
    assert.equal(standby.state, 'ready')
    t.diagnostic(`a warm standby holds ${Math.round((standby.memoryBytes ?? 0) / 1e6)} MB`)
    assert.deepEqual(
      readdirSync(join(scene.dir, 'b')),
      [],
      'nothing of LangFlow was written before the grant',
    )
    a.signal('SIGTERM')
    const released = await a.event('released')
    const serving = await scene.serves(b)
    const ms = Date.parse(serving.time) - Date.parse(released.time)
    t.diagnostic(`from the release to the next one that serves: ${ms} ms`)
    assert.equal(await runEcho(b.port, TEXT), TEXT)
    const environ = readFileSync(`/proc/${b.workloadPid()}/environ`, 'utf8')
    assert.match(environ, /LANGFLOW_LEADER_TREE=/)
  },
)

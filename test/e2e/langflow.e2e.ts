import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { carries, readProcesses } from '../../agent/processes/proc.ts'
import { freePort } from '../harness/free-port.ts'
import { langflowTests, runEcho } from '../harness/langflow.ts'
import type { Replica } from '../harness/replica.ts'
import { LEASE } from '../harness/scene.ts'

const TEXT = 'what is left of it?'
const langflowTest = langflowTests()

langflowTest(
  'LangFlow gives the same answer before and after a takeover, and its warm standby writes no file before the grant',
  async ({ scene }, t) => {
    const replica = async (identity: string, standby: 'cold' | 'warm') => {
      const port = await freePort()
      const command = ['sh', '-c', `exec ${scene.binary} run --backend-only --port ${port}`]
      return scene.replica(identity, { port, command, flags: [`--standby=${standby}`] })
    }
    const a = await replica('a', 'cold')
    await scene.serves(a)
    const b = await replica('b', 'warm')
    const ready = await scene.standsBy(b)
    const { standby } = await b.status()
    assert.deepEqual([ready.mode, standby.state], ['warm', 'ready'])
    t.diagnostic(`a warm standby holds ${Math.round((standby.memoryBytes ?? 0) / 1e6)} MB`)
    assert.deepEqual(readdirSync(join(scene.dir, 'b')), [], 'the standby wrote files before the grant')
    const statuses = [a.get('/readyz'), b.get('/readyz'), b.get('/readyz?exclude=leadership')]
    assert.deepEqual(
      (await Promise.all(statuses)).map(({ status }) => status),
      [200, 503, 200],
    )
    assert.equal(await runEcho(a.port, TEXT), TEXT)
    const environ = environOf(a)
    assert.ok(environ.includes('LEADER_EPOCH=1') && environ.includes('LEADER_IDENTITY=a'))

    await scene.kubectl('annotate', 'lease', LEASE, 'team=research')
    a.signal('SIGTERM')
    const acquired = await b.event('acquired')
    const released = await a.event('released')
    assert.ok(Date.parse(acquired.time) - Date.parse(released.time) < 1_000)
    const mark = Buffer.from(`${markOf(environ)}\0`)
    const left = [...readProcesses().keys()].filter((pid) => carries(pid, mark) === 'yes')
    assert.deepEqual(left, [], 'processes of the old LangFlow still live')
    assert.deepEqual(await a.exited, { code: 0, signal: null })

    const serving = await scene.serves(b)
    const ms = Date.parse(serving.time) - Date.parse(released.time)
    t.diagnostic(`from the release until the next leader serves: ${ms} ms`)
    assert.equal(acquired.epoch, 2)
    assert.equal(await runEcho(b.port, TEXT), TEXT)
    assert.ok(markOf(environOf(b)))
    const { holder, object } = scene.watch.last()
    assert.deepEqual([holder, object.metadata.annotations?.team], ['b', 'research'])
    assert.ok(!a.events().includes('lost') && !a.events().includes('doubt'))
  },
)

function environOf(replica: Replica): string[] {
  return readFileSync(`/proc/${replica.workloadPid()}/environ`, 'utf8').split('\0')
}

/** The variable that marks each process that LangFlow starts. */
function markOf(environ: readonly string[]): string | undefined {
  return environ.find((variable) => variable.startsWith('LANGFLOW_LEADER_TREE='))
}

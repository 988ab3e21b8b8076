import assert from 'node:assert/strict'
import { commandLineOf, readProcesses } from '../../agent/processes/proc.ts'
import { langflowTests, runEcho } from '../harness/langflow.ts'
import { lives } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'

const FLAGS = ['--standby=warm', '--spare', '--on-crash=restart']
/** Ten seconds after it serves one is begun. */
const SPARE_WITHIN_MS = 90_000

const langflowTest = langflowTests()

langflowTest(
  'a replica alone whose worker is killed goes on from its spare, which ends before the Lease is released',
  async ({ scene, postgres }, t) => {
    const env = { LANGFLOW_DATABASE_URL: await postgres.newDatabase() }
    const replica = await scene.replica('a', { flags: FLAGS, env })
    await scene.serves(replica)
    const spare = async () => {
      await until('a spare', async () => (await replica.status()).standby.state === 'ready', SPARE_WITHIN_MS)
      return spareOf(replica.launcherPid())
    }
    assert.equal(await runEcho(replica.port, 'before'), 'before')
    const first = await spare()
    assert.ok(lives(first))
    const { epoch } = (await replica.status()).lease

    const seen = replica.lines.length
    const served = await replica.find('who serves', (line) => /is served by pid/.test(line.msg ?? ''))
    const killedAt = Date.now()
    process.kill(Number(/pid (\d+)/.exec(served.msg)?.[1]), 'SIGKILL')
    await until('an answer', async () => (await runEcho(replica.port, 'after').catch(() => '')) === 'after')
    t.diagnostic(`from the kill to an answer: ${Date.now() - killedAt} ms`)
    const started = await replica.event('workload_started', seen)
    assert.deepEqual([started.epoch, started.pid], [epoch, first])
    assert.equal((await replica.status()).lease.epoch, epoch)

    const second = await spare()
    assert.notEqual(second, first)
    replica.signal('SIGTERM')
    await replica.event('released')
    assert.ok(!lives(second))
    assert.deepEqual(await replica.exited, { code: 0, signal: null })
  },
)

/** The interpreter that waits beside LangFlow, a child of the launcher. */
function spareOf(launcher: number): number {
  const waiting = [...readProcesses().values()].filter(
    ({ pid, ppid }) => ppid === launcher && /def warm_up/.test(commandLineOf(pid)),
  )
  // One that has gone on has the same command line, and is older.
  const newest = waiting.sort((a, b) => Number(b.startTime) - Number(a.startTime))[0]
  assert.ok(newest)
  return newest.pid
}

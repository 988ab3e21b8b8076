import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { readProcesses } from '../../agent/processes/proc.ts'
import { freePort } from '../harness/free-port.ts'
import { API_KEY, flowClient, langflowTests } from '../harness/langflow.ts'
import { LangflowUser } from '../harness/langflow-items.ts'
import { LEASE } from '../harness/scene.ts'
import { ServerProcess } from '../harness/server-process.ts'
import { mono, until } from '../harness/wait.ts'

const langflowTest = await langflowTests()

const TITLE =
  'two workers with Redis: warm standby, builds on any worker, the loss of a worker, a freeze and a handover'
langflowTest(TITLE, async ({ scene, postgres }, t) => {
  const port = await freePort()
  const address = ['--bind', '127.0.0.1', '--port', String(port)]
  const redis = new ServerProcess('redis-server', [...address, '--save', ''], join(scene.dir, 'redis.log'))
  t.after(() => redis.stop('SIGKILL'))
  const env = {
    LANGFLOW_DATABASE_URL: await postgres.newDatabase(),
    LANGFLOW_JOB_QUEUE_TYPE: 'redis',
    LANGFLOW_REDIS_QUEUE_URL: `redis://127.0.0.1:${port}/1`,
  }
  const command = [scene.binary, 'run', '--backend-only', '--workers', '2']
  const more = { command, flags: ['--standby=warm'], env }
  const a = await scene.withFront('a', more)
  await scene.serves(a)
  const b = await scene.withFront('b', more)
  assert.equal((await scene.standsBy(b)).mode, 'warm')

  /** The processes of a replica that are connected to Redis: its workers. */
  const workersOf = ({ pid }: typeof a): number[] => {
    const sockets = execFileSync('ss', ['-Htnp', `dport = :${port}`], { encoding: 'utf8' })
    const all = readProcesses()
    const isIts = (one: number): boolean => one === pid || (one > 1 && isIts(all.get(one)?.ppid ?? 0))
    return [...new Set([...sockets.matchAll(/pid=(\d+)/g)].map(([, one]) => Number(one)))].filter(isIts)
  }
  const client = flowClient([a.front, b.front], { everyMs: 200 })
  assert.deepEqual([workersOf(a).length, workersOf(b)], [2, []])

  /** Builds a flow, and reads its events over other connections, which any worker accepts. */
  const build = async (replica: typeof a): Promise<void> => {
    const user = new LangflowUser(`http://127.0.0.1:${replica.port}`, {
      'x-api-key': API_KEY,
      connection: 'close',
    })
    const flows = await user.list('/api/v1/flows/?get_all=true&header_flows=true')
    const { id } = flows.find((flow) => flow.endpoint_name === 'echo')!
    const inputs = { input_value: 'here', type: 'chat' }
    const { job_id } = await user.make(`/api/v1/build/${id}/flow?event_delivery=polling`, { inputs })
    const events = `/api/v1/build/${job_id}/events?event_delivery=polling`
    await until('the end of the build', async () => (await user.text(events)).includes('"event": "end"'))
  }
  for (let n = 0; n < 6; n++) await build(a)

  const stateOf = (pid: number) => readProcesses().get(pid)?.state
  const [first, second] = workersOf(a) as [number, number]
  const killedAt = mono()
  process.kill(first, 'SIGKILL')
  await until('the end of the worker', () => [undefined, 'Z'].includes(stateOf(first)))
  const goneAt = mono()
  await until('two workers again', () => workersOf(a).length === 2 && !workersOf(a).includes(first), 60_000)
  assert.ok(workersOf(a).includes(second))

  const from = a.lines.length
  a.link.partition()
  await a.event('workload_frozen', from)
  assert.deepEqual(workersOf(a).map(stateOf), ['T', 'T'])
  await a.link.heal()
  await a.event('workload_thawed', from)
  await build(a)

  await scene.kubectl('annotate', 'lease', LEASE, 'langflow-leader/switchover-to=*')
  await scene.serves(b)
  assert.deepEqual([workersOf(a), workersOf(b).length], [[], 2])
  await build(b)
  await client.stop()
  // The runs that the killed worker had accepted are lost with it.
  const others = client.failed().filter(({ sentAt, endedAt }) => sentAt > goneAt || endedAt < killedAt)
  assert.deepEqual(others, [])
  assert.deepEqual([scene.watch.last().holder, scene.watch.last().epoch], ['b', 2])
})

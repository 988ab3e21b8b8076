import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { readProcesses } from '../../agent/workload/proc.ts'
import { Pod, podObstacle } from '../support/pod.ts'
import { type Postgres, postgresMissing, startPostgres } from '../support/postgres.ts'
import type { Replica } from '../support/replica.ts'
import { until } from '../support/until.ts'
import { type ControlPlane, startControlPlane } from './control-plane.ts'
import { runEcho } from './langflow.ts'
import { type LangflowReplicas, langflowReplicas } from './langflow-replicas.ts'

let plane: ControlPlane
let postgres: Postgres
let dir: string

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'frozen-e2e-'))
  plane = await startControlPlane()
  if (postgresMissing() === undefined) postgres = await startPostgres()
})

after(async () => {
  await postgres?.close()
  await plane?.close()
  rmSync(dir, { recursive: true, force: true })
})

const ms = (from: { time: string }, to: { time: string }) => Date.parse(to.time) - Date.parse(from.time)

/** The states of LangFlow's processes beneath a replica's launcher. */
function states(replica: Replica): string[] {
  const table = [...readProcesses().values()]
  const below = (pid: number): string[] =>
    table.filter(({ ppid }) => ppid === pid).flatMap((one) => [one.state, ...below(one.pid)])
  return below(replica.launcherPid())
}

async function standsBy(replica: Replica, from = 0): Promise<void> {
  const ready = await replica.event('standby_ready', from)
  assert.equal(ready.mode, 'frozen', replica.output.join('\n'))
}

/** Writes the Lease as another holder would; `''` releases it. */
function hold({ namespace }: LangflowReplicas, holderIdentity: string, leaseDurationSeconds: number) {
  const now = new Date().toISOString().replace('Z', '000Z')
  const spec = { holderIdentity, leaseDurationSeconds, acquireTime: now, renewTime: now, leaseTransitions: 1 }
  const annotations = { 'langflow-leader/released': holderIdentity === '' ? 'another 1' : null }
  const args = ['patch', 'lease', 'langflow-leader-lock', `--namespace=${namespace}`, '--type=merge']
  return plane.kubectl([...args, '-p', JSON.stringify({ metadata: { annotations }, spec })])
}

async function pair(found: LangflowReplicas): Promise<{ a: Replica; b: Replica; url: string; name: string }> {
  const url = await postgres.newDatabase()
  const a = await found.start('a', { LANGFLOW_DATABASE_URL: url })
  await a.event('serving')
  const b = await found.start('b', { LANGFLOW_DATABASE_URL: `${url}?application_name=standby` })
  return { a, b, url, name: 'standby' }
}

test('a frozen LangFlow executes nothing until its term, and is the one that serves then', async (t) => {
  if (postgres === undefined) return t.skip(postgresMissing())
  const found = await langflowReplicas(t, plane, dir, ['--standby=frozen'])
  if (found === undefined) return
  const { a, b, name } = await pair(found)
  try {
    await standsBy(b)
    assert.ok(states(b).length >= 2)
    assert.deepEqual([...new Set(states(b))], ['T'], 'all of it is stopped')
    const sessions = `SELECT state FROM pg_stat_activity WHERE application_name = '${name}'`
    const open = (await postgres.sql(sessions)).split('\n').filter((state) => state !== 'idle')
    assert.deepEqual(open, [], 'it sleeps in the middle of a transaction, and keeps its locks')
    const { standby } = await b.status()
    assert.equal(standby.state, 'ready')
    t.diagnostic(`a frozen standby holds ${Math.round((standby.memoryBytes ?? 0) / 1e6)} MB`)

    await t.test('is prepared again when its flows are changed', async () => {
      const from = b.lines.length
      appendFileSync(join(found.flows, 'echo.json'), '\n')
      await b.find('the note', ({ msg }) => msg?.includes('flows have changed'), from)
      await standsBy(b, from)
    })

    await postgres.restart()
    a.signal('SIGTERM')
    const released = await a.event('released')
    const from = b.lines.length
    const serving = await b.event('serving', from)
    const stopped = await a.event('workload_stopped')
    t.diagnostic(`LangFlow was stopped (${stopped.reason}) within ${stopped.durationMs} ms`)
    t.diagnostic(`from the release to the next one that serves: ${ms(released, serving)} ms`)
    assert.equal(stopped.reason, 'SIGTERM')
    assert.equal(b.lines.filter(({ event }) => event === 'workload_started').length, 1)
    assert.ok(ms(released, serving) < 5_000)
    assert.equal(await runEcho(b.port, 'what is left of it?'), 'what is left of it?')
  } finally {
    await Promise.all([a.stop(), b.stop()])
  }
})

test('prewarmed and frozen standbys take over in a container whose processes are alone', async (t) => {
  if (postgres === undefined) return t.skip(postgresMissing())
  const obstacle = podObstacle()
  if (obstacle !== undefined) return t.skip(obstacle)
  for (const mode of ['prewarmed', 'frozen']) {
    const found = await langflowReplicas(t, plane, dir, [`--standby=${mode}`])
    if (found === undefined) return
    await hold(found, 'another', 600)
    const url = await postgres.newDatabase()
    const pod = await Pod.start(
      await found.optionsOf('pod', { LANGFLOW_DATABASE_URL: url }),
      join(found.dir, 'pod-directory'),
    )
    try {
      const ready = await pod.agent.event('standby_ready')
      assert.equal(ready.mode, mode, pod.container.output.join('\n'))
      await hold(found, '', 1)
      const acquired = await pod.agent.event('acquired')
      const serving = await pod.agent.event('serving')
      t.diagnostic(`${mode}: from the Lease to serving: ${ms(acquired, serving)} ms`)
      assert.equal(await runEcho(pod.port, 'what is left of it?'), 'what is left of it?')
    } finally {
      await pod.stop()
    }
  }
})

test('a frozen standby whose PostgreSQL is away falls back to a prewarmed one, and says why', async (t) => {
  if (postgres === undefined) return t.skip(postgresMissing())
  const found = await langflowReplicas(t, plane, dir, ['--standby=frozen'])
  if (found === undefined) return
  await hold(found, 'another', 600)
  const a = await found.start('a', { LANGFLOW_DATABASE_URL: 'postgresql://user:secret@127.0.0.1:9/none' })
  try {
    assert.equal((await a.event('standby_ready')).mode, 'prewarmed')
    const told = await a.find('the reason', ({ msg }) => msg?.startsWith('LangFlow cannot be kept frozen'))
    assert.match(told.msg, /PostgreSQL cannot be reached: ECONNREFUSED/)
    assert.doesNotMatch(a.output.filter((line) => line.includes('frozen')).join('\n'), /secret/)
    const { standby } = await a.status()
    assert.deepEqual([standby.wanted, standby.mode], ['frozen', 'prewarmed'])
  } finally {
    await a.stop()
  }
})

test('a request in flight across an API outage of 12 s completes, and LangFlow is the same process', async (t) => {
  if (postgres === undefined) return t.skip(postgresMissing())
  const found = await langflowReplicas(t, plane, dir)
  if (found === undefined) return
  const url = await postgres.newDatabase()
  const a = await found.start('a', { LANGFLOW_DATABASE_URL: url })
  try {
    await a.event('serving')
    assert.equal(await runEcho(a.port, 'first'), 'first')
    const pid = a.workloadPid()
    const from = a.lines.length
    // Right after a renewal: 2 s later 12 s would be as long as the grant.
    await until(
      'a renewal was acknowledged',
      async () => ((await a.status()).leadership.killInMs ?? 0) > 13_500,
    )
    plane.pause()
    const paused = performance.now()
    await until('the lock is about to be taken', async () => performance.now() - paused > 7_000)
    // The flow waits for its table until after the thaw.
    const lock = postgres.sql(
      'BEGIN; LOCK TABLE message IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(7); COMMIT',
      url,
    )
    await until(
      'the table is locked',
      async () =>
        (await postgres.sql(
          "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'message'::regclass",
          url,
        )) === '1',
    )
    const answer = runEcho(a.port, 'across')
    await a.event('workload_frozen', from)
    assert.equal((await a.get('/readyz')).status, 503)
    await until('12 s have passed', async () => performance.now() - paused > 12_000)
    plane.resume()
    await a.event('workload_thawed', from)
    await a.event('serving', from)
    assert.equal(await answer, 'across')
    await lock
    assert.equal((await a.status()).workload.pid, pid)
    assert.deepEqual(
      a.events().filter((event) => event === 'acquired' || event === 'workload_started'),
      ['acquired', 'workload_started'],
    )
  } finally {
    plane.resume()
    await a.stop()
  }
})

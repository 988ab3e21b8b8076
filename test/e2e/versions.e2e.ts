import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { type Postgres, postgresMissing, startPostgres } from '../support/postgres.ts'
import { Replica } from '../support/replica.ts'
import { until } from '../support/until.ts'
import { type ControlPlane, startControlPlane } from './control-plane.ts'
import { langflowReplicas } from './langflow-replicas.ts'

const OLDER_MISSING =
  'no older LangFlow: set LANGFLOW_OLDER_BIN to a langflow program (pip install "langflow-base[postgresql]==1.12.8" in a Python 3.11 venv)'

let plane: ControlPlane
let postgres: Postgres | undefined
let dir: string

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'versions-e2e-'))
  plane = await startControlPlane()
  if (postgresMissing() === undefined) postgres = await startPostgres()
})

after(async () => {
  await postgres?.close()
  await plane?.close()
  rmSync(dir, { recursive: true, force: true })
})

/** The `langflow` program of an older LangFlow; `undefined`: none is named, and the test is skipped. */
function olderBinary(t: TestContext): string | undefined {
  const binary = process.env.LANGFLOW_OLDER_BIN
  if (binary !== undefined && !existsSync(binary))
    throw new Error(`LANGFLOW_OLDER_BIN names ${binary}, which does not exist`)
  if (binary !== undefined) return binary
  t.diagnostic(`SKIPPED: ${OLDER_MISSING}`)
  t.skip(OLDER_MISSING)
  return undefined
}

test('a real older LangFlow leaves the database of a newer one alone', async (t) => {
  const older = olderBinary(t)
  if (older === undefined) return
  if (postgres === undefined) {
    t.skip(postgresMissing())
    return
  }
  const found = await langflowReplicas(t, plane, dir)
  if (found === undefined) return
  const { optionsOf } = found
  const db = postgres
  const url = await db.newDatabase()
  const start = async (identity: string, binary?: string) => {
    const options = await optionsOf(identity, { LANGFLOW_DATABASE_URL: url })
    // A flow that the one exports is not the other's to read.
    const { LANGFLOW_LOAD_FLOWS_PATH: _, ...env } = options.env ?? {}
    const command = binary === undefined ? options.command : [binary, 'run', '--backend-only']
    const replica = await Replica.start({ ...options, env, ...(command === undefined ? {} : { command }) })
    t.after(() => replica.stop())
    return replica
  }
  // A start alone takes 40 s on a quiet machine, and a migration comes on top of it.
  const serves = (replica: Replica) => {
    const served = () => replica.event('serving')
    return served().catch(served).catch(served)
  }
  const schema = () =>
    db.sql(
      "SELECT version_num FROM alembic_version UNION ALL SELECT relname || ' ' || oid FROM pg_class WHERE relkind = 'r' AND " +
        "relnamespace = 'public'::regnamespace ORDER BY 1",
      url,
    )

  const a = await start('a', older)
  await serves(a)
  const old = await schema()
  const b = await start('b')
  await b.event('standby_ready')
  a.signal('SIGTERM')
  await serves(b)
  const migrated = await schema()
  assert.notEqual(migrated, old, 'the newer one has migrated')

  const c = await start('c', older)
  const refusal = await c.find(
    'why it is kept away',
    ({ level, msg }) => level === 'warn' && /is older/.test(msg),
  )
  t.diagnostic(refusal.msg)
  await until('c is there', async () => (await c.status()).workload.launcher === 'connected')
  const { couldTakeOver, langflow } = await c.status()
  assert.deepEqual([couldTakeOver, langflow.outdated], [false, true])
  b.signal('SIGTERM')
  await b.event('released')
  // It would have been there first by far.
  const d = await start('d')
  await d.event('acquired')
  assert.ok(!c.events().includes('acquired'))
  await serves(d)
  assert.equal(await schema(), migrated)
})

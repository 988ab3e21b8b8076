import assert from 'node:assert/strict'
import { langflowTests, olderLangflowBinary } from '../harness/langflow.ts'
import { until } from '../harness/wait.ts'

const langflowTest = await langflowTests()

langflowTest(
  'a replica with an older LangFlow never leads on the database of a newer one',
  async ({ scene, postgres }, t) => {
    const older = olderLangflowBinary()
    if (older === undefined) return t.skip('no older LangFlow: set LANGFLOW_OLDER_BIN to that of 1.12.8')
    const url = await postgres.newDatabase()
    // Neither version loads flow files, since one can't read the other's.
    const env = { LANGFLOW_DATABASE_URL: url, LANGFLOW_LOAD_FLOWS_PATH: undefined }
    const start = (identity: string, binary = scene.binary) =>
      scene.replica(identity, { env, command: [binary, 'run', '--backend-only'] })
    const schema = () =>
      postgres.sql(
        "SELECT version_num FROM alembic_version UNION ALL SELECT relname || ' ' || oid FROM pg_class WHERE relkind = 'r' AND " +
          "relnamespace = 'public'::regnamespace ORDER BY 1",
        url,
      )

    const a = await start('a', older)
    await scene.serves(a)
    const old = await schema()
    const b = await start('b')
    await scene.standsBy(b)
    a.signal('SIGTERM')
    await scene.serves(b)
    assert.notEqual(await schema(), old, 'the newer LangFlow must have migrated the database')

    const c = await start('c', older)
    const refusal = await c.find(
      'the reason why c may not lead',
      ({ level, msg }) => level === 'warn' && /is older/.test(msg),
    )
    t.diagnostic(refusal.msg)
    await until(
      'the launcher of c connects',
      async () => (await c.status()).workload.launcher === 'connected',
    )
    const { couldTakeOver, langflow } = await c.status()
    assert.deepEqual([couldTakeOver, langflow.outdated], [false, true])
    b.signal('SIGTERM')
    await b.event('released')
    // c was ready long before d, so only its version can have kept it from the Lease.
    const d = await start('d')
    await d.event('acquired')
    assert.ok(!c.events().includes('acquired'))
  },
)

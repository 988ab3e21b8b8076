import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../harness/free-port.ts'
import { flowClient, langflowTests } from '../harness/langflow.ts'
import { mono, until } from '../harness/wait.ts'

/** Limit for a takeover after a change: a standby prepares LangFlow again. */
const TAKEN_OVER_MS = 200_000

langflowTests()(
  'a new database login in the env file becomes a planned takeover without a failed request, after which the old login can be closed',
  async ({ scene, postgres }, t) => {
    const url = new URL(await postgres.newDatabase())
    const database = url.pathname.slice(1)
    await postgres.sql(
      `CREATE ROLE login_1 LOGIN PASSWORD 'one'; ALTER DATABASE ${database} OWNER TO login_1`,
    )
    const file = join(scene.dir, 'langflow.env')
    const write = (username: string, password: string) => {
      Object.assign(url, { username, password })
      writeFileSync(file, `LANGFLOW_DATABASE_URL='${url}'\n`)
    }
    write('login_1', 'one')
    const agents = [await freePort(), await freePort()] as const
    const flags = ['--standby=warm', `--peers=${agents.map((port) => `127.0.0.1:${port}`)}`]
    const env = { LEADER_ENV_FILE: file }
    const a = await scene.withFront('a', { httpPort: agents[0], flags, env })
    await scene.serves(a)
    const b = await scene.withFront('b', { httpPort: agents[1], flags, env })
    assert.equal((await scene.standsBy(b)).mode, 'warm')
    for (const one of [a, b])
      await until('a front takes requests', async () => (await one.get('/frontz')).status === 200)

    const client = flowClient([a.front, b.front])
    t.after(() => client.stop())
    await until('flows run', () => client.answered(0) >= 4)
    await postgres.sql(
      "CREATE ROLE login_2 LOGIN PASSWORD 'two' IN ROLE login_1; ALTER ROLE login_2 SET role = 'login_1'",
    )
    const changedAt = mono()
    write('login_2', 'two')
    assert.equal((await a.event('stepped_down', 0, TAKEN_OVER_MS)).code, 'content_changed')
    await scene.serves(b)
    t.diagnostic(`from the change to serving: ${Math.round(mono() - changedAt)} ms`)
    await postgres.sql('ALTER ROLE login_1 NOLOGIN')
    const closedAt = mono()
    await until('flows run on', () => client.answered(closedAt) >= 10)
    const users = "SELECT DISTINCT usename FROM pg_stat_activity WHERE usename LIKE 'login_%'"
    assert.equal(await postgres.sql(users), 'login_2')
    await client.stop()
    t.diagnostic(`${client.calls.length} requests`)
    assert.deepEqual(client.failed(), [])
  },
)

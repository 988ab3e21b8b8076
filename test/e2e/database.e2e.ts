import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { LOG_ENV } from '../../agent/cli/check/environment.ts'
import { flowClient, langflowTests } from '../harness/langflow.ts'
import { QUICK, type Replica } from '../harness/replica.ts'
import { mono, until } from '../harness/wait.ts'

/** The timeout of a client that runs a flow. */
const PATIENCE_MS = 15_000
/** Limit for the time from the thaw to the first answer, and to the last failing request. */
const BACK_WITHIN_MS = 20_000
/** Events that announce the end of a term. */
const ENDS = ['draining', 'doubt', 'lost', 'released']

const langflowTest = await langflowTests()

langflowTest(
  'the leader and its LangFlow survive 60 s without the database, and a term can begin without it',
  async ({ scene, postgres }, t) => {
    const env = {
      LANGFLOW_DATABASE_URL: await postgres.newDatabase(),
      [LOG_ENV.name]: LOG_ENV.value,
    }
    const replica = (name: string) => scene.replica(name, { env, flags: ['--standby=warm', ...QUICK] })
    const a = await replica('a')
    await a.event('acquired')
    const b = await replica('b')
    await Promise.all([scene.serves(a), scene.standsBy(b)])

    /** Runs flows, freezes the database for `ms`, and reports how fast flows recover. */
    const away = async (leader: Replica, ms: number, before: () => Promise<unknown> = async () => {}) => {
      const client = flowClient([leader.port], { everyMs: 1_000, withinMs: PATIENCE_MS })
      try {
        await before()
        const frozenAt = mono()
        postgres.freeze()
        await sleep(ms).finally(() => postgres.thaw())
        const thawedAt = mono()
        await until('flows run again', () => client.answered(thawedAt) >= 10, 60_000)
        await client.stop()
        const after = client.calls.filter(({ endedAt }) => endedAt >= thawedAt)
        const firstMs = Math.min(
          ...after.filter(({ failure }) => failure === null).map((call) => call.endedAt - thawedAt),
        )
        const failed = client.failed(frozenAt)
        const lastMs = Math.max(0, ...failed.map(({ sentAt }) => sentAt - thawedAt))
        t.diagnostic(
          `unavailable for ${ms / 1000} s: ${failed.length} requests failed; ` +
            `first answer ${Math.round(firstMs)} ms and last failed request sent ${Math.round(lastMs)} ms after its return`,
        )
        return { firstMs, lastMs }
      } finally {
        await client.stop()
      }
    }
    const stays = async (leader: Replica, ms: number) => {
      const pid = leader.workloadPid()
      const { lease } = await leader.status()
      const from = leader.lines.length
      const { firstMs, lastMs } = await away(leader, ms)
      assert.ok(firstMs < BACK_WITHIN_MS && lastMs < BACK_WITHIN_MS, `${firstMs} ms, ${lastMs} ms`)
      const reported = leader.lines.slice(from).map(({ event }) => event)
      assert.deepEqual(
        reported.filter((event) => ENDS.includes(String(event))),
        [],
      )
      const now = await leader.status()
      assert.deepEqual([now.role, now.lease.epoch, leader.workloadPid()], ['leader', lease.epoch, pid])
      assert.deepEqual([now.workload.healthy, now.problem], [true, null])
    }

    await stays(a, 60_000)

    // The database goes away when the next leader acquires the Lease.
    await away(b, 20_000, async () => {
      a.signal('SIGTERM')
      await b.event('acquired')
    })
    await scene.serves(b)
    const { lease, workload } = await b.status()
    assert.deepEqual([lease.holder, lease.epoch, workload.healthy], ['b', 2, true])
    assert.equal(b.events().filter((event) => event === 'acquired').length, 1)
  },
)

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Answer } from '../../agent/peers/peer-requests.ts'
import { PeerRows, PeerRowsCache, type PeerRowsOptions } from '../../agent/peers/peer-rows.ts'
import type { AgentStatus, ReplicaRow } from '../../agent/status/agent-status.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'
import { FOLLOWING, SERVING } from '../observe/replica.ts'

const SILENT: Answer = { status: null, problem: 'peer did not answer within 1 s', gone: false }
const [ME, OTHER] = ['http://10.0.0.1:8090', 'http://10.0.0.2:8090']

function says(status: AgentStatus): Answer {
  return { status, problem: null }
}

const OTHER_ONE: AgentStatus = { ...FOLLOWING, identity: 'langflow-1_9d2e' }

/** The peers of the replica `langflow-0`, with the answer of each address. */
function bench(answers: Record<string, Answer>, more: Partial<PeerRowsOptions> = {}) {
  const clock = new VirtualClock()
  const asked: string[] = []
  const rows = new PeerRows({
    at: [{ host: 'members', port: 8090 }],
    identity: SERVING.identity,
    lease: 'team/langflow-leader-lock',
    clock,
    requests: {
      ask: async (origin) => {
        asked.push(origin)
        return answers[origin] ?? SILENT
      },
    },
    resolve: async () => Object.keys(answers).map((origin) => new URL(origin).hostname),
    ...more,
  })
  return { clock, asked, rows, answers }
}

describe('the rows of the peers', () => {
  test('contain the whole status of each other replica, including fields of a later version', async () => {
    const later = { ...OTHER_ONE, novelty: { a: 1 } }
    const { rows } = bench({ [ME]: says(SERVING), [OTHER]: says(later) })
    assert.deepEqual(await rows.ask(), [{ pod: 'langflow-1', node: null, status: later, problem: null }])
  })

  test('contain the reason for a missing status, under the name from the last minute’s answer', async () => {
    const { rows, answers, clock } = bench({ [ME]: says(SERVING), [OTHER]: SILENT })
    const silent = { node: null, status: null, problem: SILENT.problem }
    assert.deepEqual(await rows.ask(), [{ ...silent, pod: '10.0.0.2:8090' }])
    answers[OTHER] = says(OTHER_ONE)
    await rows.ask()
    Object.assign(answers, { [OTHER]: SILENT, [ME]: SILENT })
    assert.deepEqual(await rows.ask(), [{ ...silent, pod: 'langflow-1' }])
    await clock.pass(60_001)
    answers[ME] = says(SERVING)
    assert.deepEqual(await rows.ask(), [{ ...silent, pod: '10.0.0.2:8090' }])
  })

  test('contain no status of a replica that competes for another Lease, but name that Lease', async () => {
    const stray = { ...OTHER_ONE, lease: { ...OTHER_ONE.lease, name: 'another' } }
    const { rows } = bench({ [OTHER]: says(stray) })
    const problem = 'competes for another Lease, "team/another"'
    assert.deepEqual(await rows.ask(), [{ pod: 'langflow-1', node: null, status: null, problem }])
  })

  test('contain a replica once, even if it has several addresses', async () => {
    const V6 = 'http://[fd00::2]:8090'
    const { rows, answers } = bench(
      { [OTHER]: says(OTHER_ONE), [V6]: says(OTHER_ONE) },
      {
        at: [
          { host: '10.0.0.2', port: 8090 },
          { host: 'fd00::2', port: 8090 },
        ],
        resolve: async (host) => [host],
      },
    )
    assert.equal((await rows.ask()).length, 1)
    answers[OTHER] = SILENT
    const [row, ...more] = await rows.ask()
    assert.deepEqual([row?.pod, row?.problem, more], ['langflow-1', null, []])
  })

  test('contain the problem of a name that cannot be resolved, beside the peers of other names', async () => {
    const at = [
      { host: 'nowhere', port: 8090 },
      { host: 'members', port: 8090 },
    ]
    const resolve = async (host: string) => {
      if (host === 'members') return ['10.0.0.2']
      throw Object.assign(new Error('x'), { code: 'ENOTFOUND' })
    }
    const { rows } = bench({ [OTHER]: says(OTHER_ONE) }, { at, resolve })
    assert.deepEqual(
      (await rows.ask()).map(({ pod, problem }) => [pod, problem]),
      [
        ['langflow-1', null],
        ['nowhere', 'the name nowhere in --peers cannot be resolved: ENOTFOUND'],
      ],
    )
  })

  test('use the earlier addresses if a name takes longer than 1 s, without a second lookup at the same time', async () => {
    const pending: PromiseWithResolvers<string[]>[] = []
    const resolve = () => {
      pending.push(Promise.withResolvers())
      return (pending.at(-1) as PromiseWithResolvers<string[]>).promise
    }
    const { rows, clock } = bench({ [OTHER]: says(OTHER_ONE) }, { resolve })
    const first = rows.ask()
    pending[0]?.resolve(['10.0.0.2'])
    assert.equal((await first).length, 1)
    for (let n = 0; n < 2; n++) {
      const late = rows.ask()
      await clock.pass(999)
      await clock.pass(1)
      assert.deepEqual((await late)[0]?.pod, 'langflow-1')
    }
    assert.equal(pending.length, 2)
    pending[1]?.resolve([])
    await settled()
    const after = rows.ask()
    pending[2]?.resolve(['10.0.0.2'])
    assert.equal((await after).length, 1)
  })

  test('ask at most 32 addresses', async () => {
    const resolve = async () => Array.from({ length: 40 }, (_, n) => `10.0.1.${n}`)
    const { rows, asked } = bench({}, { resolve })
    await rows.ask()
    assert.equal(asked.length, 32)
  })
})

describe('the rows for several clients', () => {
  function cached() {
    const rounds: PromiseWithResolvers<readonly ReplicaRow[]>[] = []
    const clock = new VirtualClock()
    const cache = new PeerRowsCache(clock, () => {
      rounds.push(Promise.withResolvers())
      return (rounds.at(-1) as PromiseWithResolvers<readonly ReplicaRow[]>).promise
    })
    return { clock, cache, rounds }
  }

  test('are collected at most once a second, and only on demand', async () => {
    const { clock, cache, rounds } = cached()
    await clock.pass(60_000)
    assert.equal(rounds.length, 0)
    const [one, other] = [cache.rows(), cache.rows()]
    rounds[0]?.resolve([])
    assert.equal(await one, await other)
    await clock.pass(999)
    assert.equal(await cache.rows(), await one)
    await clock.pass(1)
    void cache.rows()
    assert.equal(rounds.length, 2)
  })

  test('come from the round that is under way, even if it is slow', async () => {
    const { clock, cache, rounds } = cached()
    void cache.rows()
    await clock.pass(5_000)
    void cache.rows()
    assert.equal(rounds.length, 1)
  })

  test('are collected again a second after a failed round', async () => {
    const { clock, cache, rounds } = cached()
    const failed = cache.rows()
    rounds[0]?.reject(new Error('x'))
    await assert.rejects(failed)
    await clock.pass(1_000)
    void cache.rows()
    assert.equal(rounds.length, 2)
  })
})

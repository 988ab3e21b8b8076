import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Answer } from '../../agent/peers/peer-requests.ts'
import { PeerRows, type PeerRowsOptions } from '../../agent/peers/peer-rows.ts'
import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { FOLLOWING, SERVING } from '../observe/replica.ts'

const SILENT: Answer = { status: null, problem: 'no answer', gone: false }
const [ME, OTHER, OTHER_V6] = ['http://10.0.0.1:8090', 'http://10.0.0.2:8090', 'http://[fd00::2]:8090']
const ONE: AgentStatus = { ...FOLLOWING, identity: 'langflow-1_9d2e' }
const OWN = { pod: 'langflow-0', node: null, status: SERVING, problem: null }

function says(status: AgentStatus): Answer {
  return { status, problem: null }
}

/** The peers of the replica `langflow-0`, with the answer of each address. */
function bench(answers: Record<string, Answer>, more: Partial<PeerRowsOptions> = {}) {
  const clock = new VirtualClock()
  const asked: string[] = []
  const peers = new PeerRows({
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
  return { clock, asked, rows: () => peers.rows(() => OWN) }
}

describe('the rows of the replicas', () => {
  const stray = { ...ONE, lease: { ...ONE.lease, name: 'another' } }
  const later = { ...ONE, novelty: { a: 1 } }
  for (const [what, answers, pod, status, problem] of [
    ['each status', { [ME]: says(SERVING), [OTHER]: says(later) }, 'langflow-1', later, null],
    ['silent addresses', { [ME]: says(SERVING), [OTHER]: SILENT }, '10.0.0.2:8090', null, 'no answer'],
    ['no others', { [OTHER]: says(stray) }, 'langflow-1', null, 'competes for another Lease, "team/another"'],
    ['each replica once', { [OTHER]: says(ONE), [OTHER_V6]: says(ONE) }, 'langflow-1', ONE, null],
  ] as const)
    test(`contain, after the own one, ${what}`, async () => {
      assert.deepEqual(await bench(answers).rows(), [OWN, { pod, node: null, status, problem }])
    })

  test('contain the problem of a name that is not resolved, or not within 1 s', async () => {
    const at = ['nowhere', 'members'].map((host) => ({ host, port: 8090 }))
    const resolve = async (host: string) => {
      if (host === 'members') return ['10.0.0.2']
      throw Object.assign(new Error('x'), { code: 'ENOTFOUND' })
    }
    const [, one, other] = await bench({ [OTHER]: says(ONE) }, { at, resolve }).rows()
    assert.deepEqual([one?.status, other?.pod, other?.problem?.endsWith('ENOTFOUND')], [ONE, 'nowhere', true])
    const slow = bench({}, { resolve: () => new Promise(() => {}) })
    const rows = slow.rows()
    await slow.clock.pass(1_000)
    assert.deepEqual(
      (await rows).map(({ pod }) => pod),
      ['langflow-0', 'members'],
    )
  })

  test('come from at most 32 addresses', async () => {
    const { rows, asked } = bench(
      {},
      { resolve: async () => Array.from({ length: 40 }, (_, n) => `10.0.1.${n}`) },
    )
    await rows()
    assert.equal(asked.length, 32)
  })

  test('are collected on demand, once for all clients of a second or of a slow round', async () => {
    let answer = Promise.withResolvers<string[]>()
    const { clock, asked, rows } = bench({ [OTHER]: says(ONE) }, { resolve: () => answer.promise })
    const [one, other] = [rows(), rows()]
    answer.resolve(['10.0.0.2'])
    assert.equal(await one, await other)
    await clock.pass(999)
    assert.equal(await rows(), await one)
    await clock.pass(1)
    answer = Promise.withResolvers()
    const slow = rows()
    await clock.pass(990)
    const joined = rows()
    answer.resolve(['10.0.0.2'])
    assert.equal(await joined, await slow)
    assert.equal(asked.length, 2)
  })
})

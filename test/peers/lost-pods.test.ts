import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Term } from '../../agent/election/state.ts'
import { ApiError, type ApiErrorCode } from '../../agent/kube/kube-errors.ts'
import type { WrittenObject } from '../../agent/kube/kube-objects.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import { LostPods } from '../../agent/peers/lost-pods.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'
import { electionState, TERM } from './member.ts'

const ignore = () => {}

/** A leader `me_1`, whose polls get an answer of each replica in `answering`, every 5 s. */
class Bench {
  readonly clock = new VirtualClock()
  readonly patches: WrittenObject[] = []
  answering: string[] = []
  frontAnswers = false
  refusal: ApiErrorCode | null = null
  private readonly askedAt = new Map<string, number>()
  private term: Term | null = null
  private readonly lostPods: LostPods

  constructor() {
    const bench = this
    this.lostPods = new LostPods({
      identity: 'me_1',
      leaseDurationMs: 15_000,
      peers: {
        get answered() {
          return [...bench.askedAt].map(([identity, askedAt]) => ({
            ...{ identity, at: 'http://10.0.0.7:8090', askedAt },
          }))
        },
      },
      api: {
        async patchStatus(_, object) {
          if (bench.refusal !== null) throw new ApiError(bench.refusal, 'refused')
          bench.patches.push(object)
        },
        close: ignore,
      },
      front: {
        access: { address: '10.0.0.1:8091', key: 'k' },
        probe: async (address) => {
          assert.equal(address, '10.0.0.7:8091')
          return this.frontAnswers ? null : 'no answer'
        },
      },
      clock: this.clock,
      log: { warn: ignore },
      repeats: { happened: ignore, over: ignore },
      state: () => electionState(this.term),
    })
  }

  get reported(): string[] {
    return this.patches.map(({ metadata }) => `${metadata.name}_${metadata.uid}`)
  }

  follows(holder: string): this {
    const lease = { metadata: {}, spec: { holderIdentity: holder } } as unknown as Lease
    this.term = null
    this.lostPods.electionChanged(electionState(null, { seen: { lease } as never }))
    return this
  }

  async leads(because: 'expired' | 'released', epoch = 2): Promise<this> {
    this.term = { ...TERM, epoch, startedAt: this.clock.mono(), record: { because } as never }
    this.lostPods.electionChanged(electionState(this.term))
    await settled()
    return this
  }

  async polls(ms: number): Promise<this> {
    for (const until = this.clock.mono() + ms; this.clock.mono() < until; await this.clock.pass(5_000)) {
      for (const identity of this.answering) this.askedAt.set(identity, this.clock.mono())
      await this.lostPods.asked()
    }
    return this
  }
}

describe('the pod of a lost replica is reported as not Ready', () => {
  test('if its identity lost the Lease by expiry, at once and once', async () => {
    const b = await new Bench().follows('a_7').leads('expired')
    const { metadata, status } = b.patches[0] as { metadata: object; status?: { conditions: object[] } }
    assert.deepEqual(metadata, { name: 'a', uid: '7' })
    const [{ message: _, ...ready }] = (status?.conditions ?? []) as [Record<string, unknown>]
    const lastTransitionTime = new Date(b.clock.now().wall).toISOString().replace(/\.\d+/, '')
    const reason = 'LangflowLeaderLost'
    assert.deepEqual(ready, { type: 'Ready', status: 'False', reason, lastTransitionTime })
    await b.polls(60_000)
    assert.deepEqual(b.reported, ['a_7'])
  })

  test('if it has answered nothing for a lease duration, once for each loss', async () => {
    const b = await new Bench().follows('a_7').leads('released')
    b.answering = ['a_7', 'b_1']
    await b.polls(10_000)
    b.answering = ['b_1']
    await b.polls(10_000)
    assert.deepEqual(b.reported, [])
    await b.polls(30_000)
    assert.deepEqual(b.reported, ['a_7'])
    b.answering = ['a_7', 'b_1']
    await b.polls(5_000)
    b.answering = ['b_1']
    await b.polls(30_000)
    assert.deepEqual(b.reported, ['a_7', 'a_7'])
  })

  test('again, if the API server could not be reached', async () => {
    const b = new Bench().follows('a_7')
    b.refusal = 'network'
    await b.leads('expired')
    await b.polls(5_000)
    b.refusal = null
    await b.polls(10_000)
    assert.deepEqual(b.reported, ['a_7'])
  })
})

describe('no pod is reported', () => {
  test('if the former holder released the Lease', async () => {
    const b = await new Bench().follows('a_7').leads('released')
    assert.deepEqual((await b.polls(30_000)).reported, [])
  })

  test('if its front answers', async () => {
    const b = await new Bench().follows('').leads('released')
    b.answering = ['a_7']
    await b.polls(5_000)
    Object.assign(b, { answering: [], frontAnswers: true })
    assert.deepEqual((await b.polls(30_000)).reported, [])
  })

  test('for an answer of an earlier term, or by a follower', async () => {
    const b = await new Bench().follows('').leads('released')
    b.answering = ['a_7']
    await b.polls(5_000)
    b.answering = []
    await b.follows('b_1').polls(30_000)
    await b.leads('released', 4)
    assert.deepEqual((await b.polls(30_000)).reported, [])
  })

  test('for the own identity, or a second time after the pod was replaced', async () => {
    const own = await new Bench().follows('me_1').leads('expired')
    assert.deepEqual((await own.polls(10_000)).reported, [])
    const b = new Bench().follows('a_7')
    b.refusal = 'conflict'
    await b.leads('expired')
    b.refusal = null
    assert.deepEqual((await b.polls(30_000)).reported, [])
  })
})

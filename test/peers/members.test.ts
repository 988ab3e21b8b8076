import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ConsentAnswer, ConsentRequest } from '../../agent/election/consent.ts'
import type { CandidateState, Fact } from '../../agent/election/state.ts'
import { type LeaseMember, MEMBERS } from '../../agent/lease/lease-members.ts'
import { Members } from '../../agent/peers/members.ts'
import type { SendConsent } from '../../agent/peers/peer-requests.ts'
import { heldBy, noted } from '../election/candidate.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

const KEY = 'k'.repeat(24)
const OTHER_KEY = 'o'.repeat(24)
const REQUEST = { kind: 'consent', uid: 'u1', holder: 'a', epoch: 3 } as const
const B: LeaseMember = { identity: 'b', at: '10.0.0.2:8090' }

/** The state of a replica that sees the Lease of `a` with this key. */
function stateOf(key: string, epoch: number | null, members: readonly LeaseMember[] = []): CandidateState {
  const lease = noted(heldBy('a', 10), { [MEMBERS]: JSON.stringify({ key, maxMs: 60_000, members: [B] }) })
  const term = epoch === null ? null : { epoch, consent: { members } }
  return { seen: { lease }, term } as unknown as CandidateState
}

class Agent {
  readonly facts: Fact[] = []
  readonly requests: ConsentRequest[] = []
  readonly clock = new VirtualClock()
  answer: ConsentAnswer | null = { agreed: true }
  answered: { identity: string; at: string; askedAt: number }[] = []
  readonly members: Members
  private state: CandidateState

  constructor(identity: string, send: SendConsent, state: CandidateState, key = KEY) {
    this.state = state
    const peers = { answered: this.answered }
    this.members = new Members({
      ...{ key, identity, leaseDurationMs: 15_000, peers, clock: this.clock, send },
      state: () => this.state,
      dispatch: (fact) => this.facts.push(fact),
      consentTo: (request) => {
        this.requests.push(request)
        return this.answer
      },
    })
    this.members.electionChanged(state)
  }

  sees(state: CandidateState): void {
    this.state = state
    this.members.electionChanged(state)
  }

  async consent(): Promise<Fact | undefined> {
    this.members.ask({ type: 'ask', round: 1, request: REQUEST, asked: [B], deadlineMs: 100 })
    await new Promise(setImmediate)
    return this.facts.at(-1)
  }
}

/** `between` may change the sealed answer. */
function pair(between: (sealed: string, request: string) => string = (sealed) => sealed) {
  const b: Agent = new Agent('b', async () => '', stateOf(KEY, null))
  const send: SendConsent = async (at, sealed) => {
    assert.equal(at, B.at)
    const answer = b.members.answer(sealed)
    if (answer === null) throw new Error('401')
    return between(answer, sealed)
  }
  return { a: new Agent('a', send, stateOf(KEY, 3)), b }
}

const agreed = { type: 'consent', round: 1, identity: 'b', answer: { agreed: true } }

test('a member’s answer arrives as a fact', async () => {
  const { a, b } = pair()
  const fact = await a.consent()
  assert.partialDeepStrictEqual(fact, agreed)
  assert.deepEqual(b.requests, [REQUEST])
  b.answer = { agreed: false, reason: 'it leads itself', holder: 'b', epoch: 4 }
  assert.partialDeepStrictEqual(await a.consent(), { answer: b.answer })
})

test('a member that has seen a newer holder still answers under the key of the older one', async () => {
  const { a, b } = pair()
  b.sees(stateOf(OTHER_KEY, null))
  assert.partialDeepStrictEqual(await a.consent(), agreed)
})

test('a request under an unknown key, for another replica, or with a changed content gets no answer', async () => {
  const { a, b } = pair()
  const sealed: string[] = []
  const spy = new Agent('a', async (_, text) => String(sealed.push(text)), stateOf(KEY, 3))
  await spy.consent()
  const [request = ''] = sealed
  assert.notEqual(b.members.answer(request), null)
  const [body = '', mac = ''] = request.split('.')
  const raised = Buffer.from(body, 'base64url').toString().replace('"epoch":3', '"epoch":4')
  assert.equal(b.members.answer(`${Buffer.from(raised).toString('base64url')}.${mac}`), null)
  for (const text of ['', '.', `${body}.`, `.${mac}`, `${body}.AAAA`, 'x'.repeat(9_000)])
    assert.equal(b.members.answer(text), null, text.slice(0, 20))
  const c = new Agent('c', async () => '', stateOf(KEY, null))
  assert.equal(c.members.answer(request), null)
  const stranger = new Agent('b', async () => '', stateOf(OTHER_KEY, null))
  assert.equal(stranger.members.answer(request), null)
  assert.equal(c.requests.length + stranger.requests.length, 0)
  assert.partialDeepStrictEqual(await a.consent(), agreed)
})

test('an answer counts only for its own request, and only from the member that was asked', async () => {
  let first = ''
  const replayed = pair((answer) => {
    first ||= answer
    return first
  })
  assert.partialDeepStrictEqual(await replayed.a.consent(), agreed)
  assert.partialDeepStrictEqual(await replayed.a.consent(), { answer: null })
  // A request is no answer, although the same key signs it.
  const mirrored = pair((_, request) => request)
  assert.partialDeepStrictEqual(await mirrored.a.consent(), { answer: null })
})

test('the leader enrols a peer that agrees, and removes it after a lease duration without an answer', async () => {
  const { a, b } = pair()
  b.answer = null
  a.answered.push({ identity: 'b', at: `http://${B.at}`, askedAt: a.clock.mono() })
  a.members.asked()
  await new Promise(setImmediate)
  assert.deepEqual(a.facts, [])
  b.answer = { agreed: true }
  a.members.asked()
  await new Promise(setImmediate)
  assert.deepEqual(a.facts.pop(), { type: 'enrolled', members: [B] })
  assert.equal(b.requests.at(-1)?.kind, 'enrol')
  a.sees(stateOf(KEY, 3, [B]))
  await a.clock.pass(14_900)
  a.members.asked()
  assert.deepEqual(a.facts, [])
  await a.clock.pass(200)
  a.members.asked()
  assert.deepEqual(a.facts, [{ type: 'enrolled', members: [] }])
})

test('members of an earlier term are enrolled again', async () => {
  const { a, b } = pair()
  a.answered.push({ identity: 'b', at: `http://${B.at}`, askedAt: a.clock.mono() })
  a.members.asked()
  await new Promise(setImmediate)
  a.sees(stateOf(KEY, 5))
  b.answer = null
  a.members.asked()
  await new Promise(setImmediate)
  assert.deepEqual(a.facts, [{ type: 'enrolled', members: [B] }])
})

test('an answer from an earlier term counts for no round of a later one', async () => {
  const { a } = pair()
  const fact = a.consent()
  a.sees(stateOf(KEY, 5))
  assert.equal(await fact, undefined)
})

test('a repeated request gets no answer: it would delay a takeover for as long as someone repeats it', async () => {
  const sealed: string[] = []
  const { a, b } = pair((answer, request) => {
    sealed.push(request)
    return answer
  })
  await a.consent()
  const [request = ''] = sealed
  assert.equal(b.members.answer(request), null)
  assert.equal(b.requests.length, 1)
  assert.partialDeepStrictEqual(await a.consent(), agreed)
})

test('a member whose agent listens on port 80 is stated with its port', async () => {
  const { a } = enrolling()
  a.answered.push({ identity: 'b', at: 'http://10.0.0.2', askedAt: 0 })
  a.answered.push({ identity: 'c', at: 'http://[fd00::7]', askedAt: 0 })
  a.members.asked()
  await new Promise(setImmediate)
  const members = [
    { identity: 'b', at: '10.0.0.2:80' },
    { identity: 'c', at: '[fd00::7]:80' },
  ]
  assert.deepEqual(a.facts.at(-1), { type: 'enrolled', members })
})

test('during a rollout of many replicas, the list stays as short as every replica can read', async () => {
  const { a } = enrolling()
  for (let n = 0; n < 40; n++)
    a.answered.push({ identity: `b${n}`, at: `http://10.0.0.${n}:8090`, askedAt: 0 })
  a.members.asked()
  await new Promise(setImmediate)
  const fact = a.facts.at(-1)
  assert.equal(fact?.type === 'enrolled' && fact.members.length, 32)
})

/** A leader whose peers all agree. */
function enrolling() {
  const send: SendConsent = async (_, sealed) => {
    const [body = ''] = sealed.split('.')
    const { to } = JSON.parse(Buffer.from(body, 'base64url').toString())
    return new Agent(to, async () => '', stateOf(KEY, null)).members.answer(sealed) ?? ''
  }
  return { a: new Agent('a', send, stateOf(KEY, 3)) }
}

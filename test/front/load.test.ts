import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask } from '../harness/connection.ts'
import { until } from '../harness/wait.ts'
import { at, fakeLangFlow, TestFront } from './fixture.ts'
import { roomOf } from './room.ts'

/** A room before a LangFlow whose requests for health take this long, with so many requests in LangFlow. */
async function busy(sent: number, healthMs: number) {
  const scene = roomOf()
  const { clock, langflow, waits } = scene
  await scene.opens()
  const guests = waits(0, sent)
  await clock.pass(100)
  const takes = (ms: number) => {
    langflow.health = () => new Promise((resolve) => clock.after(ms, resolve))
  }
  takes(healthMs)
  const answer = async (count: number) => {
    for (const guest of guests.splice(0, count)) scene.room.answered(guest)
    await clock.pass(0)
  }
  return { ...scene, guests, takes, answer }
}

test('up to eight requests in LangFlow cause no request for its health', async () => {
  const { clock, langflow, opens, waits } = roomOf()
  await opens()
  waits(0, 8)
  await clock.pass(10_000)
  assert.equal(langflow.asked, 0)
})

test('while /health is fast, no request waits: 200 runs that wait for a language model all reach LangFlow within half a second', async () => {
  const { clock, sent, langflow, opens, waits } = roomOf()
  await opens()
  waits(0, 200)
  assert.equal(langflow.asked, 1)
  await clock.pass(500)
  assert.equal(sent.length, 200)
  await clock.pass(20_000)
  waits(200, 216)
  await clock.pass(0)
  assert.equal(sent.length, 216)
})

test('LangFlow gets at most sixteen requests, and as many again as it has for each three fast answers of /health', async () => {
  const { clock, sent, langflow, opens, waits } = roomOf()
  const answers: (() => void)[] = []
  langflow.health = () => new Promise((resolve) => answers.push(resolve))
  await opens()
  waits(0, 50)
  await clock.pass(0)
  for (const most of [16, 32, 50]) {
    assert.equal(sent.length, most)
    for (let n = 0; n < 3; n++) {
      answers.shift()?.()
      await clock.pass(25)
    }
  }
})

test('half a second without an answer of /health closes the window: each answer makes room for one request, but only below eight', async () => {
  const { clock, sent, waits, answer } = await busy(12, 10_000)
  await clock.pass(649)
  waits(12, 13)
  await clock.pass(0)
  assert.equal(sent.length, 13)
  await clock.pass(1)
  waits(13, 40)
  await answer(5)
  assert.equal(sent.length, 13)
  await answer(7)
  assert.equal(sent.length, 13 + 7)
})

test('after six fast answers of /health, the window opens again by answers, and without a limit when no request has waited for a second', async () => {
  const { clock, sent, waits, answer, takes, guests } = await busy(12, 1_000)
  await clock.pass(1_000)
  takes(0)
  guests.push(...waits(12, 112))
  await answer(12)
  const sentFor: number[] = []
  for (let n = 0; n < 7; n++) {
    await clock.pass(250)
    const before = sent.length
    await answer(8)
    sentFor.push(sent.length - before)
  }
  assert.deepEqual(sentFor, [8, 8, 8, 8, 8, 8, 10])
  await answer(100)
  await clock.pass(1_000)
  waits(200, 300)
  await clock.pass(500)
  assert.equal(sent.length, 212)
})

test('while LangFlow computes, it has eight requests, without one that waits for longer than sixteen others', async () => {
  const { clock, sent, waits, answer, guests } = await busy(12, 100)
  await clock.pass(1_300)
  const [stays] = guests.splice(0, 1)
  assert.ok(stays)
  guests.push(...waits(12, 100))
  await answer(11)
  assert.equal(sent.length, 12 + 7)
  for (let n = 0; n < 3; n++) {
    await clock.pass(500)
    await answer(2)
  }
  assert.equal(sent.length, 12 + 7 + 6)
  await clock.pass(500)
  assert.equal(sent.length, 12 + 7 + 6 + 1)
})

test('while LangFlow computes, requests make room for two each if it answers nothing for two seconds', async () => {
  const { clock, sent, waits } = await busy(12, 100)
  await clock.pass(1_300)
  waits(12, 100)
  await clock.pass(1_000)
  assert.equal(sent.length, 12 + 8 + 12)
})

test('a LangFlow that answers nothing is not fed, neither after two seconds nor when its clients leave, until it answers /health', async () => {
  const { clock, sent, waits, leaves, guests, langflow } = await busy(12, 1_000)
  langflow.health = () => new Promise((_, reject) => clock.after(5_000, reject))
  await clock.pass(1_000)
  waits(12, 30)
  for (const guest of guests.slice(0, 6)) leaves(guest)
  await clock.pass(9_000)
  assert.equal(sent.length, 12)
})

test('with a late answer of /health, only clients that have left a slow LangFlow make room', async () => {
  const { clock, sent, waits, leaves, guests } = await busy(12, 1_000)
  await clock.pass(1_000)
  waits(12, 30)
  for (const guest of guests.slice(0, 6)) leaves(guest)
  await clock.pass(1_399)
  assert.equal(sent.length, 12)
  await clock.pass(1)
  assert.equal(sent.length, 12 + 2)
})

test('a request gets 503 at once if it would wait for longer than the queue wait, at the pace of the last one that left', async () => {
  const { clock, refused, waits, wait, answer, guests, sent } = await busy(12, 10_000)
  await clock.pass(1_000)
  guests.push(...waits(12, 40))
  for (let n = 0; n < 16; n++) {
    await clock.pass(100)
    await answer(1)
  }
  guests.push(...waits(40, 168))
  await clock.pass(0)
  // Twelve have been sent after the first four answers, the last one after 1,600 ms as the twelfth in its queue.
  assert.equal(168 - sent.length - refused.length, Math.floor(10_000 / (1_600 / 12)))
  assert.deepEqual(new Set(refused.map(({ reason }) => reason)), new Set(['overload']))
  const before = sent.length
  wait(1_000, { urgent: true })
  await clock.pass(0)
  assert.equal(sent.length, before + 1)
  await clock.pass(9_000)
  await answer(guests.length)
  await clock.pass(10_000)
  const later = refused.length
  wait(2_000)
  await clock.pass(0)
  assert.equal(refused.length, later)
})

test('each answer of /health that takes longer than 1.5 s halves the window, to one request, and each faster one doubles it, to eight', async () => {
  const { clock, sent, waits, takes, answer, guests } = await busy(12, 2_000)
  guests.push(...waits(12, 100))
  let answered = 0
  const inLangFlow = async () => {
    const had = sent.length - answered
    answered += had
    await answer(had)
    return sent.length - answered
  }
  const sizes: number[] = []
  for (const afterMs of [2_250, 2_250, 2_250, 350, 350, 350]) {
    if (sizes.length === 3) takes(100)
    await clock.pass(afterMs)
    sizes.push(await inLangFlow())
  }
  assert.deepEqual(sizes, [4, 2, 1, 2, 4, 8])
})

test('at four times its capacity, LangFlow answers at least 90 % of its capacity in time, and each other request gets 503', async () => {
  const { clock, langflow, room, guest, turn, opens } = roomOf({ queueWaitMs: 1_000 })
  let freeAt = clock.mono()
  /** LangFlow does one thing at a time. */
  const does = (ms: number) => {
    freeAt = Math.max(freeAt, clock.mono()) + ms
    return new Promise<void>((resolve) => clock.after(freeAt - clock.mono(), resolve))
  }
  langflow.health = () => does(0)
  await opens()
  const [eachMs, count, outcomes] = [50, 560, [] as string[]]
  for (let order = 0; order < count; order++) {
    const one = guest(order)
    const answer = async () => {
      await turn(one)
      await does(eachMs)
      room.answered(one)
      return clock.mono() - one.since <= 3_000 ? 'in time' : 'late'
    }
    answer().then(
      (outcome) => outcomes.push(outcome),
      ({ reason }) => outcomes.push(reason),
    )
    await clock.pass(eachMs / 4)
  }
  const inTime = outcomes.filter((one) => one === 'in time').length
  assert.ok(inTime >= 0.9 * (count / 4), `${inTime} requests`)
  await clock.pass(5_000)
  assert.equal(outcomes.length, count)
  assert.deepEqual(new Set(outcomes), new Set(['in time', 'overload']))
})

type Wait = readonly [
  title: string,
  queueWaitMs: number,
  away: readonly [number, number],
  expected: unknown[],
]

/** `away`: from when until when no replica serves. */
const WAITS: readonly Wait[] = [
  ['the queue wait', 10_000, [20_000, 20_000], ['overload', 10_000]],
  ['the hold timeout, if it arrived before LangFlow served', 10_000, [0, 5_000], ['hold_timeout', 30_000]],
  ['the hold timeout, if a takeover came between', 10_000, [3_000, 8_000], ['hold_timeout', 30_000]],
  ['the hold timeout, if the queue wait is 0', 0, [20_000, 20_000], ['hold_timeout', 30_000]],
]

for (const [title, queueWaitMs, [from, until], expected] of WAITS) {
  test(`a request whose turn does not come gets 503 after ${title}`, async () => {
    const { clock, refused, langflow, room, opens, waits } = roomOf({ queueWaitMs })
    langflow.health = () => new Promise(() => {})
    if (from > 0) await opens()
    waits(0, 17)
    await clock.pass(from)
    langflow.isOpen = false
    room.letGo()
    await clock.pass(until - from)
    await opens()
    await clock.pass(30_000)
    const { reason, atMs } = refused[0] ?? {}
    assert.deepEqual([reason, atMs], expected)
  })
}

test("a request that the leader's front refuses for overload is answered 503 by the follower's front, and not repeated", async (t) => {
  const langflow = await fakeLangFlow(t, () => {})
  const leader = await TestFront.start(t, { ...at(langflow.port), queueWaitMs: 200 })
  const follower = await TestFront.start(t)
  await leader.toLangFlow()
  await follower.toLeader(leader.address)
  const asked = Array.from({ length: 17 }, (_, i) => ask(follower, `/${i}`, { method: 'POST', body: 'x' }))
  for (const one of asked) one.catch(() => {})
  await until('a request for health', () => langflow.seen.list.includes('GET /health'))
  await leader.counts('one refused request', ({ failed }) => failed.overload === 1)
  const { status, headers } = await Promise.race(asked)
  assert.deepEqual([status, headers['retry-after']], [503, '1'])
  await follower.counts(
    'passed on',
    ({ forwarded, failed }) => forwarded.leader === 1 && failed.overload === 0,
  )
  assert.equal(langflow.seen.list.filter((one) => one.startsWith('POST')).length, 16)
})

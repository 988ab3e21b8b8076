import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { type Answer, askOnce, type Call, tallyOf } from './client.ts'
import { LeaseHistory, wrongAnswers } from './lease-history.ts'

const answer = (replica: string, epoch: number, mono: number): Answer => ({ replica, epoch, pid: 1, mono })
const good = (sentAt: number, endedAt: number): Call => ({
  sentAt,
  endedAt,
  answer: answer('a', 1, endedAt),
  failure: null,
})
const bad = (sentAt: number, failure: string): Call => ({ sentAt, endedAt: sentAt, answer: null, failure })

test('the longest silence lies between two answers, or reaches to an end of the time that is looked at', () => {
  const calls = [good(0, 10), good(100, 110), bad(200, 'ECONNREFUSED'), good(500, 510)]
  assert.equal(tallyOf(calls, 0, 520).longestSilenceMs, 400)
  assert.equal(tallyOf(calls, 0, 1_510).longestSilenceMs, 1_000)
  assert.equal(tallyOf([], 0, 300).longestSilenceMs, 300)
})

test('only calls that were sent in time are counted, with why they failed', () => {
  const calls = [bad(0, 'ECONNREFUSED'), good(50, 60), bad(100, 'ECONNRESET'), bad(110, 'ECONNRESET')]
  const { calls: count, failed, failures } = tallyOf(calls, 50, 200)
  assert.deepEqual([count, failed, failures], [3, 2, { ECONNRESET: 2 }])
})

test('an answer is wrong from one who does not hold the Lease in its epoch, and after a later epoch has answered', () => {
  const terms = new Map([
    [1, 'a'],
    [2, 'b'],
  ])
  assert.deepEqual(wrongAnswers([answer('a', 1, 0), answer('b', 2, 10)], terms), [])
  assert.match(wrongAnswers([answer('b', 1, 0)], terms).join(), /which was of a/)
  assert.match(wrongAnswers([answer('b', 2, 0), answer('a', 1, 10)], terms).join(), /after epoch 2/)
  // Not yet told of by the watch.
  assert.deepEqual(wrongAnswers([answer('c', 3, 0)], terms), [])
})

test('a history of the Lease keeps the holder of each epoch, and notices two in one', () => {
  const history = new LeaseHistory()
  const hear = (holderIdentity: string, leaseTransitions: number) =>
    history.hear({ type: 'MODIFIED', object: { spec: { holderIdentity, leaseTransitions } } })
  hear('a', 1)
  hear('', 1)
  hear('b', 2)
  assert.deepEqual([...history.terms.entries()].flat(), [1, 'a', 2, 'b'])
  assert.deepEqual([history.holder, history.epoch, history.contradictions], ['b', 2, []])
  hear('c', 2)
  assert.equal(history.contradictions.length, 1)
})

test('an answer that is none is a failure, and not a process that ends', async () => {
  const server = createServer((_request, response) => response.end('no JSON')).listen(0, '127.0.0.1')
  const { port } = await new Promise<AddressInfo>((resolve) =>
    server.once('listening', () => resolve(server.address() as AddressInfo)),
  )
  try {
    const url = `http://127.0.0.1:${port}/`
    await assert.rejects(
      askOnce(url, (text) => JSON.parse(text) as Answer),
      SyntaxError,
    )
  } finally {
    server.close()
  }
})

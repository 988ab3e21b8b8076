import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Series } from '../harness/wait.ts'
import { ask, FOR_EVER, fakeLangFlow, TestFront } from './fixture.ts'

const CLIENTS = 16
const TAKEOVERS = 6
const BETWEEN = 2 * CLIENTS

test('under load, planned takeovers fail no request, and LangFlow gets each request exactly once', async (t) => {
  const langflows = await Promise.all(
    [0, 1].map(() => fakeLangFlow(t, (_, outgoing) => void setImmediate(() => outgoing.end('ok')))),
  )
  const [a, b] = await Promise.all(
    langflows.map(({ port }) => TestFront.start(t, { target: { host: '127.0.0.1', port } })),
  )
  const fronts = [a, b] as [TestFront, TestFront]
  await fronts[0].toLangFlow()
  await fronts[1].toLeader(fronts[0].address)
  const statuses = new Series<number>()
  let done = false
  const client = async (name: number) => {
    for (let i = 0; !done; i++) {
      const front = fronts[(name + i) % 2] as TestFront
      statuses.add((await ask(front.port, `/${name}/${i}`, { method: 'POST', body: 'x' })).status)
    }
  }
  const clients = Array.from({ length: CLIENTS }, (_, name) => client(name))
  const served = (count: number) => {
    const enough = statuses.list.length + count
    return statuses.next(`${count} more answers`, () => statuses.list.length >= enough)
  }
  for (let epoch = 1; epoch <= TAKEOVERS; epoch++) {
    const [leader, next] = (epoch % 2 === 1 ? fronts : fronts.toReversed()) as [TestFront, TestFront]
    await served(BETWEEN)
    await leader.closes(epoch)
    await next.toNobody({ epoch })
    await leader.counts('no request in flight', ({ inFlight }) => inFlight === 0)
    // The new leader's front gets its route before the former leader's does, as in a real takeover.
    await next.toLangFlow(FOR_EVER, epoch + 1)
    await leader.toLeader(next.address, epoch + 1)
  }
  await served(BETWEEN)
  done = true
  await Promise.all(clients)
  assert.deepEqual([...new Set(statuses.list)], [200])
  const seen = langflows.flatMap(({ seen }) => seen.list)
  assert.deepEqual([seen.length, new Set(seen).size], [statuses.list.length, statuses.list.length])
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ask, FOR_EVER, fakeLangFlow, TestFront } from './fixture.ts'

const at = (port: number) => ({ target: { host: '127.0.0.1', port } })

test('under load, planned takeovers fail no request, and LangFlow gets each request exactly once', async (t) => {
  const langflows = await Promise.all(
    [0, 1].map(() =>
      fakeLangFlow(t, (_, outgoing) => {
        setTimeout(() => outgoing.end('ok'), 20)
      }),
    ),
  )
  const fronts = await Promise.all(langflows.map(({ port }) => TestFront.start(t, at(port))))
  const [a, b] = fronts as [TestFront, TestFront]
  let epoch = 1
  await a.toLangFlow(FOR_EVER, epoch)
  await b.toLeader(a.address, epoch)

  const statuses: Promise<number>[] = []
  let done = false
  const clients = (async () => {
    for (let i = 0; !done; i++) {
      const front = fronts[i % 2] as TestFront
      statuses.push(ask(front.port, `/${i}`, { method: 'POST', body: 'x' }).then(({ status }) => status))
      await sleep(5)
    }
  })()
  for (let i = 0; i < 6; i++) {
    const [leader, next] = (i % 2 === 0 ? [a, b] : [b, a]) as [TestFront, TestFront]
    await sleep(100)
    await leader.closes(epoch)
    await next.toNobody({ epoch })
    await leader.counts('no request in flight', ({ inFlight }) => inFlight === 0)
    // The new leader's front gets its route before the former leader's does, as in a real takeover.
    epoch++
    await next.toLangFlow(FOR_EVER, epoch)
    await sleep(20)
    await leader.toLeader(next.address, epoch)
  }
  done = true
  await clients
  const all = await Promise.all(statuses)
  assert.deepEqual(
    all.filter((status) => status !== 200),
    [],
  )
  const seen = langflows.flatMap(({ seen }) => seen.list)
  assert.deepEqual([seen.length, new Set(seen).size], [all.length, all.length])
})

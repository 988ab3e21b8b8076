import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask, fakeLangFlow, TestFront } from './fixture.ts'

const at = (port: number) => ({ target: { host: '127.0.0.1', port } })

for (const method of ['GET', 'HEAD', 'OPTIONS']) {
  test(`${method} whose connection breaks before a byte of answer is sent again`, async (t) => {
    const langflow = await fakeLangFlow(t, (incoming, outgoing) => {
      if (langflow.seen.list.length === 1) incoming.socket.destroy()
      else outgoing.end()
    })
    const front = await TestFront.start(t, at(langflow.port))
    await front.toLangFlow()
    assert.equal((await ask(front.port, '/a', { method })).status, 200)
    assert.deepEqual(langflow.seen.list, [`${method} /a`, `${method} /a`])
  })
}

for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
  test(`${method} whose connection breaks is sent once, and its client told that its outcome is unknown`, async (t) => {
    const langflow = await fakeLangFlow(t, ({ socket }) => socket.destroy())
    const front = await TestFront.start(t, at(langflow.port))
    await front.toLangFlow()
    const { status, headers, body } = await ask(front.port, '/a', { method, body: 'x' })
    assert.equal(status, 502)
    assert.match(headers['content-type'] ?? '', /^application\/json/)
    assert.match(JSON.parse(body).error, /the outcome is unknown/)
    assert.deepEqual(langflow.seen.list, [`${method} /a`])
    await front.counts('failed', ({ failed }) => failed.outcome_unknown === 1)
  })
}

test('a GET that breaks whatever it is sent to is not sent for ever', async (t) => {
  const langflow = await fakeLangFlow(t, ({ socket }) => socket.destroy())
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  assert.equal((await ask(front.port, '/a')).status, 502)
  assert.equal(langflow.seen.list.length, 4)
})

test('an answer that breaks in its middle is cut for the client as well, and nothing is sent again', async (t) => {
  const langflow = await fakeLangFlow(t, (incoming, outgoing) => {
    outgoing.writeHead(200, { 'content-length': '10' })
    outgoing.write('half', () => incoming.socket.destroy())
  })
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  await assert.rejects(ask(front.port, '/a'), { code: 'ECONNRESET' })
  assert.deepEqual(langflow.seen.list, ['GET /a'])
  await front.counts('cut', ({ failed }) => failed.cut === 1)
})

test('a 503 of LangFlow is passed back, and not taken for a reason to ask again', async (t) => {
  const langflow = await fakeLangFlow(t, (_, outgoing) => outgoing.writeHead(503).end('busy'))
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  const { status, body } = await ask(front.port, '/a')
  assert.deepEqual([status, body, langflow.seen.list.length], [503, 'busy', 1])
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask, fakeLangFlow, TestFront } from './fixture.ts'

test('a request is forwarded to LangFlow and its answer passed back', async (t) => {
  const langflow = await fakeLangFlow(t)
  const front = await TestFront.start(t, { target: { host: '127.0.0.1', port: langflow.port } })
  await front.toLangFlow()
  const { status, body } = await ask(front.port, '/a')
  assert.deepEqual([status, body, langflow.seen.list], [200, 'ok', ['GET /a']])
})

test('requests wait while nobody serves, and are sent in the order in which they came', async (t) => {
  const langflow = await fakeLangFlow(t)
  const front = await TestFront.start(t, { target: { host: '127.0.0.1', port: langflow.port } })
  const asked = []
  for (let i = 0; i < 5; i++) {
    asked.push(ask(front.port, `/${i}`, { method: 'POST', body: String(i) }))
    await front.counts(`${i + 1} held`, ({ held }) => held === i + 1)
  }
  assert.deepEqual(langflow.seen.list, [])
  await front.toLangFlow()
  for (const { status } of await Promise.all(asked)) assert.equal(status, 200)
  assert.deepEqual(langflow.seen.list, ['POST /0', 'POST /1', 'POST /2', 'POST /3', 'POST /4'])
})

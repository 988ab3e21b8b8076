import assert from 'node:assert/strict'
import { test } from 'node:test'
import { peakMb } from '../bench/usage.ts'
import { acceptOf } from '../front/frames.ts'
import { FrontProcess, KEY } from '../front/front-process.ts'
import { ScriptedTarget } from '../front/scripted-target.ts'
import { answerHead, requestHead } from '../front/stage.ts'
import { Wire } from '../front/wire.ts'

const BOUND_MB = 256
const HELD = 1000
const PIPELINING = 74
const PIPELINED = 64
const WEBSOCKETS = 40
const SENT_BYTES = 16 * 1024 * 1024
const LARGE_BYTES = 512 * 1024
const CHUNKING = 100
const PIECES = 10_000

const UPGRADE = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
]

/** A LangFlow that accepts each websocket, but neither reads from it nor writes to it. */
function langflow(): Promise<ScriptedTarget> {
  return ScriptedTarget.listen(async (served) => {
    const key = served.message.value('sec-websocket-key')
    const open = ['Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Accept: ${acceptOf(key ?? '')}`]
    if (key !== undefined) {
      served.wire.socket.pause()
      return served.send(answerHead('101 Switching Protocols', ...open))
    }
    await served.message.rest()
    await served.answer(`${answerHead('200 OK', 'Content-Length: 2')}ok`)
  })
}

async function websocket(front: FrontProcess): Promise<Wire> {
  const client = await Wire.connect(front.port)
  await client.send(requestHead('GET /ws', ...UPGRADE))
  assert.equal((await client.answer()).status, 101)
  return client
}

test('with pipelined heads beside 1,000 held requests, the front stays below 256 MB and answers the held ones', async (t) => {
  const target = await langflow()
  t.after(() => target.close())
  const front = await FrontProcess.start(target.port, { holdLimit: HELD + PIPELINING })
  t.after(() => front.stop())
  await front.holds(1, KEY)

  const held = await Promise.all(Array.from({ length: HELD }, () => Wire.connect(front.port)))
  const request = requestHead('POST /held', `Cookie: ${'c'.repeat(1024)}`, 'Content-Length: 2')
  for (const client of held) await client.send(`${request}ab`)
  await front.counted('all requests held', ({ held }) => held === HELD)

  const pipelined = Buffer.from(requestHead('GET /attack', `X-A: ${'a'.repeat(60_000)}`).repeat(PIPELINED))
  const pipelining = await Promise.all(Array.from({ length: PIPELINING }, () => Wire.connect(front.port)))
  for (const client of pipelining) void client.send(pipelined)
  await front.counted(
    'the first pipelined request of each client held',
    ({ held }) => held === HELD + PIPELINING,
  )
  await front.leads()
  const statuses = await Promise.all(held.map(async (client) => (await client.answer()).status))
  assert.deepEqual([...new Set(statuses)], [200])
  t.diagnostic(`${Math.round(peakMb(front.pid))} MB`)
  assert.ok(peakMb(front.pid) < BOUND_MB, `${peakMb(front.pid)} MB`)
  for (const client of [...held, ...pipelining]) client.destroy()
})

test(`with ${WEBSOCKETS} websockets that LangFlow doesn't read, the front leaves the data with the clients and stays below 256 MB`, async (t) => {
  const target = await langflow()
  t.after(() => target.close())
  const front = await FrontProcess.start(target.port)
  t.after(() => front.stop())
  await front.leads()
  const websockets = await Promise.all(Array.from({ length: WEBSOCKETS }, () => websocket(front)))
  for (const client of websockets) void client.send(Buffer.alloc(SENT_BYTES))
  // Each answer shows that the front has read the websocket bytes that arrived before the request.
  for (let i = 0; i < 100; i++) {
    const client = await Wire.connect(front.port)
    await client.send(requestHead('GET /beside', 'Connection: close'))
    assert.equal((await client.answer()).status, 200)
    client.destroy()
  }
  t.diagnostic(`${Math.round(peakMb(front.pid))} MB`)
  assert.ok(peakMb(front.pid) < BOUND_MB, `${peakMb(front.pid)} MB`)
  for (const client of websockets) client.destroy()
})

test('with large bodies of 1,000 held requests, the front leaves the data with the clients and stays below 256 MB', async (t) => {
  const target = await langflow()
  t.after(() => target.close())
  const front = await FrontProcess.start(target.port)
  t.after(() => front.stop())
  await front.holds()
  const clients = await Promise.all(Array.from({ length: HELD }, () => Wire.connect(front.port)))
  const request = Buffer.concat([
    Buffer.from(requestHead('POST /large', `Content-Length: ${LARGE_BYTES}`)),
    Buffer.alloc(LARGE_BYTES),
  ])
  for (const client of clients) void client.send(request)
  await front.counted('all requests held', ({ held }) => held === HELD)
  await front.leads()
  const statuses = await Promise.all(clients.map(async (client) => (await client.answer()).status))
  assert.deepEqual([...new Set(statuses)], [200])
  t.diagnostic(`${Math.round(peakMb(front.pid))} MB`)
  assert.ok(peakMb(front.pid) < BOUND_MB, `${peakMb(front.pid)} MB`)
  for (const client of clients) client.destroy()
})

for (const serves of [false, true]) {
  test(`with chunks of one byte from ${CHUNKING} requests that ${serves ? 'LangFlow does not read' : 'are held'}, the front stays below 256 MB`, async (t) => {
    const target = await ScriptedTarget.listen(async ({ wire }) => void wire.socket.pause())
    t.after(() => target.close())
    const front = await FrontProcess.start(target.port)
    t.after(() => front.stop())
    await (serves ? front.leads() : front.holds())
    const request = requestHead('POST /small', 'Transfer-Encoding: chunked') + '1\r\na\r\n'.repeat(PIECES)
    const clients = await Promise.all(Array.from({ length: CHUNKING }, () => Wire.connect(front.port)))
    for (const client of clients) void client.send(request)
    await front.counted(
      'all requests held or in flight',
      ({ held, inFlight }) => held + inFlight === CHUNKING,
    )
    const beside = await Wire.connect(front.port)
    await beside.send(requestHead('GET /beside'))
    await front.counted(
      'the request beside them held or in flight',
      ({ held, inFlight }) => held + inFlight === CHUNKING + 1,
    )
    t.diagnostic(`${Math.round(peakMb(front.pid))} MB`)
    assert.ok(peakMb(front.pid) < BOUND_MB, `${peakMb(front.pid)} MB`)
    for (const client of [beside, ...clients]) client.destroy()
  })
}

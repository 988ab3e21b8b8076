import assert from 'node:assert/strict'
import { test } from 'node:test'
import { peakMb } from '../bench/usage.ts'
import { accepted, upgrade } from '../front/exchanges.ts'
import { KEY } from '../front/fixture.ts'
import { FrontProcess } from '../front/front-process.ts'
import { ScriptedTarget } from '../front/scripted-target.ts'
import { answerHead, requestHead } from '../front/stage.ts'
import { head, Wire } from '../front/wire.ts'

const BOUND_MB = 256
const HELD = 1000
const PIPELINING = 74
const PIPELINED = 64
const WEBSOCKETS = 40
const HEADS = 4000
const CROWD = 200
const SENT_BYTES = 16 * 1024 * 1024
/** What Node reads at once. */
const READ_BYTES = 64 * 1024
const LARGE_BYTES = 512 * 1024

/** A LangFlow that accepts each websocket, but neither reads from it nor writes to it. */
function langflow(): Promise<ScriptedTarget> {
  return ScriptedTarget.listen(async (served) => {
    if (served.message.value('upgrade') !== undefined) {
      served.wire.socket.pause()
      return served.send(accepted(served))
    }
    await served.message.rest()
    await served.answer(`${answerHead('200 OK', 'Content-Length: 2')}ok`)
  })
}

const connected = (front: FrontProcess, count: number) =>
  Promise.all(Array.from({ length: count }, () => Wire.connect(front.port)))

async function answered(clients: readonly Wire[]): Promise<void> {
  const statuses = await Promise.all(clients.map(async (client) => (await client.answer()).status))
  assert.deepEqual([...new Set(statuses)], [200])
}

async function answersBeside(front: FrontProcess): Promise<void> {
  const client = await Wire.connect(front.port)
  await client.send(requestHead('GET /beside', 'Connection: close'))
  await answered([client])
  client.destroy()
}

function attack(what: string, play: (front: FrontProcess) => Promise<readonly Wire[]>): void {
  test(`with ${what}, the front stays below ${BOUND_MB} MB and answers all other requests`, async (t) => {
    const target = await langflow()
    t.after(() => target.close())
    const front = await FrontProcess.start(target.port, { holdLimit: HELD + PIPELINING })
    t.after(() => front.stop())
    const clients = await play(front)
    t.diagnostic(`${Math.round(peakMb(front.pid))} MB`)
    assert.ok(peakMb(front.pid) < BOUND_MB, `${peakMb(front.pid)} MB`)
    for (const client of clients) client.destroy()
  })
}

attack('pipelined heads beside 1,000 held requests', async (front) => {
  await front.toNobody({ key: KEY })
  const held = await connected(front, HELD)
  const request = requestHead('POST /held', `Cookie: ${'c'.repeat(1024)}`, 'Content-Length: 2')
  for (const client of held) await client.send(`${request}ab`)
  await front.counted('all requests held', ({ held }) => held === HELD)
  const pipelined = Buffer.from(requestHead('GET /attack', `X-A: ${'a'.repeat(15_000)}`).repeat(PIPELINED))
  const pipelining = await connected(front, PIPELINING)
  for (const client of pipelining) void client.send(pipelined)
  await front.counted('the first request of each client held', ({ held }) => held === HELD + PIPELINING)
  await front.toLangFlow()
  await answered(held)
  return [...held, ...pipelining]
})

attack(`${WEBSOCKETS} websockets that LangFlow does not read`, async (front) => {
  await front.toLangFlow()
  const websockets = await connected(front, WEBSOCKETS)
  for (const client of websockets) {
    await client.send(upgrade('/ws'))
    assert.equal((await client.answer()).status, 101)
    void client.send(Buffer.alloc(SENT_BYTES))
  }
  // Each answer shows that the front has read the websocket bytes that arrived before the request.
  for (let i = 0; i < 100; i++) await answersBeside(front)
  return websockets
})

attack('large bodies of 1,000 held requests', async (front) => {
  await front.toNobody()
  const clients = await connected(front, HELD)
  const large = Buffer.from(requestHead('POST /large', `Content-Length: ${LARGE_BYTES}`))
  const request = Buffer.concat([large, Buffer.alloc(LARGE_BYTES)])
  for (const client of clients) void client.send(request)
  await front.counted('all requests held', ({ held }) => held === HELD)
  await front.toLangFlow()
  await answered(clients)
  return clients
})

attack(`bodies in pieces of one byte of ${CROWD} held requests`, async (front) => {
  await front.toNobody()
  const clients = await connected(front, CROWD)
  const pieces = '1\r\na\r\n'.repeat(READ_BYTES / 6)
  const request = Buffer.from(
    `${requestHead('POST /pieces', 'Transfer-Encoding: chunked')}${pieces}0\r\n\r\n`,
  )
  for (const client of clients) void client.send(request)
  await front.counted('all requests held', ({ held }) => held === CROWD)
  await front.toLangFlow()
  await answered(clients)
  return clients
})

attack(`${HEADS} heads that never end`, async (front) => {
  await front.toLangFlow()
  const part = head('GET /attack HTTP/1.1', ...Array(15).fill(`X-Part: ${'h'.repeat(1000)}`)).trimEnd()
  const clients: Wire[] = []
  while (clients.length < HEADS) {
    const more = await connected(front, 100)
    await Promise.all(more.map((client) => client.send(part)))
    clients.push(...more)
    await answersBeside(front)
  }
  return clients
})

for (const [state, route] of [
  ['serves', 'toLangFlow'],
  ['holds', 'toNobody'],
] as const)
  attack(`clients that pipeline 2,000 requests and read no answer while it ${state}`, async (front) => {
    await front[route]()
    const clients = await connected(front, CROWD)
    await Promise.all(clients.map((client) => client.send(requestHead('GET /a').repeat(2000))))
    await front.toLangFlow()
    await answersBeside(front)
    return clients
  })

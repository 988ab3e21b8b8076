import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, beforeEach, describe, type TestContext, test } from 'node:test'
import { until } from '../harness/wait.ts'
import { EXCHANGES, type Exchange, websocket } from './exchanges.ts'
import { BINARY, frame, readWhole } from './frames.ts'
import { FrontProcess } from './front-process.ts'
import { ScriptedTarget } from './scripted-target.ts'
import { asks, Stage, says } from './stage.ts'
import { chunk, Wire } from './wire.ts'

const BOUND_BYTES = 130e6
const MIB = Buffer.alloc(1024 * 1024, 'langflow')
const UPLOAD_MIB = 200
const MESSAGE_BYTES = 64 * 1024
/** gunicorn's default, which LangFlow leaves: a request that meets the end of its connection has an unknown outcome. */
const KEEPALIVE_MS = 2000

describe('what passes through fronts', () => {
  let target: ScriptedTarget
  let leader: FrontProcess
  let follower: FrontProcess

  before(async () => {
    target = await ScriptedTarget.listen()
    leader = await FrontProcess.start(target.port)
    follower = await FrontProcess.start(target.port)
    await leader.leads()
    await follower.follows(leader)
  })
  after(async () => {
    await Promise.all([leader?.stop(), follower?.stop()])
    await target?.close()
  })

  beforeEach(() => target.forget())

  const WAYS = { 'one front': () => leader, 'two fronts': () => follower }

  /** Fronts that have done nothing yet: whatever a process once took, it may keep. */
  async function fresh(t: TestContext, way: string) {
    const last = await FrontProcess.start(target.port)
    t.after(() => last.stop())
    await last.leads()
    if (way === 'one front') return { port: last.port, memory: watchMemory(t, last) }
    const first = await FrontProcess.start(target.port)
    t.after(() => first.stop())
    await first.follows(last)
    return { port: first.port, memory: watchMemory(t, first, last) }
  }

  async function play({ play }: Exchange, port: number) {
    target.forget()
    const stage = new Stage(port, target)
    try {
      await play(stage)
      assert.deepEqual(target.waiting, [], 'nothing came twice')
      return stage.transcript()
    } finally {
      stage.close()
    }
  }

  for (const exchange of EXCHANGES) {
    test(exchange.title, async (t) => {
      const direct = await play(exchange, target.port)
      for (const [way, front] of Object.entries(WAYS)) {
        await t.test(`the same through ${way}`, async () => {
          assert.deepEqual(await play(exchange, front().port), direct)
        })
      }
    })
  }

  for (const [way, front] of Object.entries(WAYS)) {
    const asked = async (...headers: string[]) => {
      const stage = new Stage(front().port, target)
      const client = await stage.connect()
      await client.send(asks('GET /', 'Host: flows.example:8443', ...headers))
      const served = await stage.request()
      await served.answer(says('200 OK', 'Content-Length: 0'))
      await client.answered()
      stage.close()
      const { message } = served
      return ['for', 'proto', 'host'].map((name) => message.values(`x-forwarded-${name}`))
    }

    test(`X-Forwarded-* say who asked, through ${way}`, async () => {
      assert.deepEqual(await asked(), [['127.0.0.1'], ['http'], ['flows.example:8443']])
    })

    test(`X-Forwarded-* of whoever is before the front stay, and its address is added, through ${way}`, async () => {
      const before = [
        'X-Forwarded-For: 192.0.2.1, 192.0.2.2',
        'X-Forwarded-Proto: https',
        'X-Forwarded-Host: a.example',
      ]
      assert.deepEqual(await asked(...before), [
        ['192.0.2.1, 192.0.2.2, 127.0.0.1'],
        ['https'],
        ['a.example'],
      ])
    })

    test(`the request target in absolute form goes to the target, whoever it names, through ${way}`, async () => {
      const client = await Wire.connect(front().port)
      await client.send(asks('GET http://elsewhere.example/a%2Fb?c', 'Host: flows.example'))
      const { message } = await target.request()
      assert.ok(
        message.target === 'http://elsewhere.example/a%2Fb?c' ||
          (message.target === '/a%2Fb?c' && message.value('host') === 'elsewhere.example'),
        `${message.target} of ${message.value('host')}`,
      )
      client.destroy()
    })

    for (const [status, request] of [
      [[414, 431], asks(`GET /${'a'.repeat(1024 * 1024)}`)],
      [[431], asks('GET /', `X-Big: ${'b'.repeat(1024 * 1024)}`)],
      [[431], asks('GET /', ...Array.from({ length: 20_000 }, (_, i) => `X-${i}: ${'b'.repeat(50)}`))],
    ] as const) {
      test(`a head of ${request.length} bytes is answered with ${status.join(' or ')}, through ${way}`, async () => {
        const client = await Wire.connect(front().port)
        void client.send(request)
        const answer = await client.answer()
        assert.ok((status as readonly number[]).includes(answer.status), answer.start)
        client.destroy()
        assert.deepEqual(target.waiting, [])
      })
    }

    for (const framing of ['Content-Length', 'chunked'] as const) {
      test(`an upload of ${UPLOAD_MIB} MiB (${framing}) takes no more memory, through ${way}`, async (t) => {
        const { port, memory } = await fresh(t, way)
        const client = await Wire.connect(port)
        const how =
          framing === 'chunked' ? 'Transfer-Encoding: chunked' : `Content-Length: ${UPLOAD_MIB * MIB.length}`
        const sha256 = createHash('sha256')
        const sends = async () => {
          await client.send(asks('POST /api/v2/files', how))
          for (let i = 0; i < UPLOAD_MIB; i++) {
            sha256.update(MIB)
            await client.send(framing === 'chunked' ? chunk(MIB) : MIB)
          }
          if (framing === 'chunked') await client.send('0\r\n\r\n')
        }
        const sent = sends()
        const served = await target.request()
        // The target takes its time: what the client sends meanwhile stays in the client.
        await stalls(() => client.socket.bytesWritten)
        assert.ok(
          client.socket.bytesWritten < 64 * MIB.length,
          `${client.socket.bytesWritten} bytes went somewhere`,
        )
        const digest = await served.message.digest()
        await sent
        assert.equal(digest, `${UPLOAD_MIB * MIB.length} bytes, ${sha256.digest('hex')}`)
        await served.answer(says('201 Created', 'Content-Length: 0'))
        assert.equal((await client.answer()).status, 201)
        client.destroy()
        memory.check()
      })
    }

    test(`an answer of ${UPLOAD_MIB} MiB waits for a slow client, through ${way}`, async (t) => {
      const { port, memory } = await fresh(t, way)
      const client = await Wire.connect(port)
      await client.send(asks('GET /large'))
      const served = await target.request()
      const sha256 = createHash('sha256')
      const sends = async () => {
        await served.send(says('200 OK', `Content-Length: ${UPLOAD_MIB * MIB.length}`))
        for (let i = 0; i < UPLOAD_MIB; i++) {
          sha256.update(MIB)
          await served.send(MIB)
        }
        served.done()
      }
      const sent = sends()
      const answer = await client.answer()
      await stalls(() => served.wire.socket.bytesWritten)
      assert.ok(
        served.wire.socket.bytesWritten < 64 * MIB.length,
        `${served.wire.socket.bytesWritten} bytes went somewhere`,
      )
      const digest = await answer.digest()
      await sent
      assert.equal(digest, `${UPLOAD_MIB * MIB.length} bytes, ${sha256.digest('hex')}`)
      client.destroy()
      memory.check()
    })

    test(`messages of a websocket wait for a slow client, through ${way}`, async (t) => {
      const { port, memory } = await fresh(t, way)
      const { client, served } = await websocket(new Stage(port, target))
      const before = served.wire.socket.bytesWritten
      const message = MIB.subarray(0, MESSAGE_BYTES)
      const messages = (UPLOAD_MIB * MIB.length) / MESSAGE_BYTES
      const sends = async () => {
        for (let i = 0; i < messages; i++) await served.send(frame(BINARY, message, { masked: false }))
      }
      const sent = sends()
      await stalls(() => served.wire.socket.bytesWritten)
      const taken = served.wire.socket.bytesWritten - before
      assert.ok(taken < 64 * MIB.length, `${taken} bytes went somewhere`)
      for (let i = 0; i < messages; i++) assert.ok((await readWhole(client)).payload.equals(message))
      await sent
      client.destroy()
      memory.check()
    })

    test(`a connection to the target ends before the target would end it, through ${way}`, async () => {
      const client = await Wire.connect(front().port)
      await client.send(asks('GET /'))
      const served = await target.request()
      await served.send(says('200 OK', 'Content-Length: 0'))
      await client.answer()
      const began = performance.now()
      assert.equal((await served.wire.rest()).length, 0)
      assert.ok(performance.now() - began < KEEPALIVE_MS, `idle for ${performance.now() - began} ms`)
      client.destroy()
    })

    test(`connections to the target are used again, through ${way}`, async () => {
      const before = target.connections
      for (let i = 0; i < 30; i++) {
        const client = await Wire.connect(front().port)
        await client.send(asks('GET /'))
        await (await target.request()).answer(says('200 OK', 'Content-Length: 0'))
        assert.equal((await client.answer()).status, 200)
        client.destroy()
      }
      assert.ok(
        target.connections - before <= 2,
        `${target.connections - before} connections for 30 requests`,
      )
    })
  }

  test('of a request that waits nothing is read but its head, and nobody is told to go on', async () => {
    await leader.holds()
    const expecting = await Wire.connect(leader.port)
    await expecting.send(asks('POST /a', 'Content-Length: 4', 'Expect: 100-continue'))
    const large = await Wire.connect(leader.port)
    await large.send(asks('POST /b', `Content-Length: ${64 * MIB.length}`))
    const sent = (async () => {
      for (let i = 0; i < 64; i++) await large.send(MIB)
    })()
    await leader.counted('two requests wait', ({ held }) => held === 2)
    await stalls(() => large.socket.bytesWritten - large.socket.writableLength)
    const taken = large.socket.bytesWritten - large.socket.writableLength
    assert.ok(taken < 16 * MIB.length, `${taken} bytes went somewhere`)
    assert.equal(expecting.socket.bytesRead, 0)
    await leader.leads()
    const informed: string[] = []
    const answer = expecting.answer('POST', ({ start }) => informed.push(start))
    const first = await target.request()
    await until('told to go on', () => informed.length > 0 || first.message.value('expect') !== undefined)
    await expecting.send('body')
    const answered = [first, await target.request()].map(async (served) => {
      if (served.message.target === '/a') assert.equal((await served.message.rest()).toString(), 'body')
      else await served.message.digest()
      await served.answer(says('200 OK', 'Content-Length: 0'))
    })
    await Promise.all([...answered, sent])
    assert.deepEqual([(await answer).status, (await large.answer()).status], [200, 200])
    expecting.destroy()
    large.destroy()
  })
})

/** Resolves once it grows no more. */
async function stalls(bytes: () => number): Promise<void> {
  let last = -1
  let same = 0
  await until('what is sent waits', () => {
    same = bytes() === last ? same + 1 : 0
    last = bytes()
    return same === 5
  })
}

/** How much each of the fronts took at most, until it is checked. */
function watchMemory(t: TestContext, ...fronts: FrontProcess[]) {
  let most = 0
  const look = () => {
    most = Math.max(most, ...fronts.map(({ rssBytes }) => rssBytes))
  }
  const timer = setInterval(look, 20)
  t.after(() => clearInterval(timer))
  return {
    check() {
      look()
      clearInterval(timer)
      t.diagnostic(`a front took ${Math.round(most / 1e6)} MB at most`)
      assert.ok(most <= BOUND_BYTES, `${most} bytes`)
    },
  }
}

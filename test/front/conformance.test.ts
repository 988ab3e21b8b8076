import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, beforeEach, describe, type TestContext, test } from 'node:test'
import { residentMb } from '../bench/usage.ts'
import { until } from '../harness/wait.ts'
import { EXCHANGES, type Exchange } from './exchanges.ts'
import { FrontProcess } from './front-process.ts'
import { ScriptedTarget } from './scripted-target.ts'
import { answerHead, requestHead, Stage } from './stage.ts'
import { chunk, Wire } from './wire.ts'

const BOUND_MB = 130
const MIB = Buffer.alloc(1024 * 1024, 'langflow')
const UPLOAD_MIB = 200
/** gunicorn's default, which LangFlow keeps. A request on a connection that LangFlow just closed has an unknown outcome. */
const KEEPALIVE_MS = 2000

describe('conformance of the front', () => {
  let target: ScriptedTarget
  let leader: FrontProcess
  let follower: FrontProcess

  before(async () => {
    target = await ScriptedTarget.listen()
    leader = await FrontProcess.start(target.port)
    follower = await FrontProcess.start(target.port)
    await leader.toLangFlow()
    await follower.toLeader(leader.address)
  })
  after(async () => {
    await Promise.all([leader?.stop(), follower?.stop()])
    await target?.close()
  })

  beforeEach(() => target.forget())

  const WAYS = { 'one front': () => leader, 'two fronts': () => follower }

  /** Starts new fronts to measure memory, since a used process may keep memory that it once allocated. */
  async function fresh(t: TestContext, way: string) {
    const last = await FrontProcess.start(target.port)
    t.after(() => last.stop())
    await last.toLangFlow()
    if (way === 'one front') return { port: last.port, memory: watchMemory(t, last) }
    const first = await FrontProcess.start(target.port)
    t.after(() => first.stop())
    await first.toLeader(last.address)
    return { port: first.port, memory: watchMemory(t, first, last) }
  }

  async function play([, play]: Exchange, port: number) {
    target.forget()
    const stage = new Stage(port, target)
    try {
      await play(stage)
      assert.deepEqual(target.waiting, [], 'requests that the exchange did not expect')
      return stage.transcript()
    } finally {
      stage.close()
    }
  }

  for (const exchange of EXCHANGES) {
    test(`fronts change nothing about ${exchange[0]}`, async (t) => {
      const direct = await play(exchange, target.port)
      for (const [way, front] of Object.entries(WAYS)) {
        await t.test(`both sides see the same through ${way}`, async () => {
          assert.deepEqual(await play(exchange, front().port), direct)
        })
      }
    })
  }

  for (const [way, front] of Object.entries(WAYS)) {
    for (const [status, request] of [
      [[414, 431], requestHead(`GET /${'a'.repeat(1024 * 1024)}`)],
      [[431], requestHead('GET /', `X-Big: ${'b'.repeat(1024 * 1024)}`)],
      [[431], requestHead('GET /', ...Array.from({ length: 20_000 }, (_, i) => `X-${i}: ${'b'.repeat(50)}`))],
    ] as const) {
      test(`a request head of ${request.length} bytes is answered with ${status.join(' or ')}, through ${way}`, async () => {
        const client = await Wire.connect(front().port)
        void client.send(request)
        const answer = await client.answer()
        assert.ok((status as readonly number[]).includes(answer.status), answer.start)
        client.destroy()
        assert.deepEqual(target.waiting, [])
      })
    }

    for (const framing of ['Content-Length', 'chunked'] as const) {
      test(`memory stays bounded during an upload of ${UPLOAD_MIB} MiB (${framing}), through ${way}`, async (t) => {
        const { port, memory } = await fresh(t, way)
        const client = await Wire.connect(port)
        const how =
          framing === 'chunked' ? 'Transfer-Encoding: chunked' : `Content-Length: ${UPLOAD_MIB * MIB.length}`
        const sha256 = createHash('sha256')
        const sends = async () => {
          await client.send(requestHead('POST /api/v2/files', how))
          for (let i = 0; i < UPLOAD_MIB; i++) {
            sha256.update(MIB)
            await client.send(framing === 'chunked' ? chunk(MIB) : MIB)
          }
          if (framing === 'chunked') await client.send('0\r\n\r\n')
        }
        const sent = sends()
        const served = await target.request()
        // The target doesn't read yet, so most of the body must stay in the client.
        await stalls(() => client.socket.bytesWritten)
        assert.ok(
          client.socket.bytesWritten < 64 * MIB.length,
          `${client.socket.bytesWritten} bytes were buffered on the way`,
        )
        const digest = await served.message.digest()
        await sent
        assert.equal(digest, `${UPLOAD_MIB * MIB.length} bytes, ${sha256.digest('hex')}`)
        await served.answer(answerHead('201 Created', 'Content-Length: 0'))
        assert.equal((await client.answer()).status, 201)
        client.destroy()
        memory.check()
      })
    }

    test(`an idle connection to the target is closed before the target would close it, through ${way}`, async () => {
      const client = await Wire.connect(front().port)
      await client.send(requestHead('GET /'))
      const served = await target.request()
      await served.send(answerHead('200 OK', 'Content-Length: 0'))
      await client.answer()
      const began = performance.now()
      assert.equal((await served.wire.rest()).length, 0)
      assert.ok(performance.now() - began < KEEPALIVE_MS, `idle for ${performance.now() - began} ms`)
      client.destroy()
    })
  }
})

async function stalls(bytes: () => number): Promise<void> {
  let last = -1
  let same = 0
  await until('the sender stalls', () => {
    same = bytes() === last ? same + 1 : 0
    last = bytes()
    return same === 5
  })
}

/** Samples the memory of the fronts until `check`, which fails if one exceeded the bound. */
function watchMemory(t: TestContext, ...fronts: FrontProcess[]) {
  let most = 0
  const sample = () => {
    most = Math.max(most, ...fronts.map(({ pid }) => residentMb(pid)))
  }
  const timer = setInterval(sample, 20)
  t.after(() => clearInterval(timer))
  return {
    check() {
      sample()
      clearInterval(timer)
      t.diagnostic(`a front used at most ${Math.round(most)} MB`)
      assert.ok(most <= BOUND_MB, `${most} MB`)
    },
  }
}

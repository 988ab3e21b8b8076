import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { HOP, HOP_EPOCH } from '../../agent/front/front-messages.ts'
import { upgrade } from './exchanges.ts'
import { KEY } from './fixture.ts'
import { FrontProcess } from './front-process.ts'
import { ScriptedTarget, type Served } from './scripted-target.ts'
import { answerHead, requestHead } from './stage.ts'
import { chunk, head, type Message, Wire } from './wire.ts'

const WRONG_KEY = 'BBBBBBBBBBBBBBBBBBBBBB'

const SMUGGLED = requestHead('GET /smuggled')
const LAST_CHUNK = '0\r\n\r\n'
const post = (headers: string[], body: string) => requestHead('POST /attack', ...headers) + body
const length = (body: string) => `Content-Length: ${body.length}`
const chunked = (body: string) => post(['Transfer-Encoding: chunked'], body)

/** Requests that the front must refuse. No complete request may reach the target. */
const REFUSED: Readonly<Record<string, string>> = {
  'two different Content-Length headers': post(['Content-Length: 0', length(SMUGGLED)], SMUGGLED),
  'a Content-Length with a sign': post(['Content-Length: +2'], `ab${SMUGGLED}`),
  'an empty Content-Length': post(['Content-Length:'], SMUGGLED),
  'Transfer-Encoding: xchunked': post(['Transfer-Encoding: xchunked'], LAST_CHUNK + SMUGGLED),
  'another encoding after chunked': post(['Transfer-Encoding: chunked, identity'], LAST_CHUNK + SMUGGLED),
  'a vertical tab before chunked': post(['Transfer-Encoding: \x0bchunked'], LAST_CHUNK + SMUGGLED),
  'a space before the colon of a header': post([`Content-Length : ${SMUGGLED.length}`], SMUGGLED),
  'NUL in a header value': requestHead('GET /attack', 'X-A: a\0b'),
  'a bare CR in a header': requestHead('GET /attack', 'X-A: a\rX-Smuggled: b'),
  'a request without Host': head('GET /attack HTTP/1.1'),
  'two Host headers': requestHead('GET /attack', 'Host: a', 'Host: b'),
  'a space in the path': requestHead('GET /attack /smuggled'),
  'a path that does not begin with a slash': requestHead('GET attack'),
  'a path that begins with @ and a host': requestHead('GET @elsewhere.example/attack'),
  'non-ASCII bytes in the path': requestHead('GET /caf\xe9'),
  'HTTP/2 without an upgrade': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'HTTP/0.9': 'GET /attack\r\n\r\n',
  TLS: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  CONNECT: requestHead('CONNECT a:1') + SMUGGLED,
  'a chunk longer than its size': chunked(`2\r\nabcd\r\n${LAST_CHUNK}${SMUGGLED}`),
  'a chunk size with 0x': chunked(`0x2\r\nab\r\n${LAST_CHUNK}`),
  'a chunk size that ends with a bare LF': chunked(`2\nab\r\n${LAST_CHUNK}`),
  'a chunk extension of a megabyte': chunked(`2;${'a'.repeat(1024 * 1024)}\r\nab\r\n${LAST_CHUNK}`),
  'trailers of a megabyte': chunked(`0\r\nX-A: ${'a'.repeat(1024 * 1024)}\r\n\r\n`),
}

/** Requests that the front may refuse. If it forwards one, the target must get exactly one request, with this body. */
const ONE_REQUEST: readonly (readonly [title: string, request: string, body: string])[] = [
  [
    'a Content-Length and chunked',
    post(['Content-Length: 6', 'Transfer-Encoding: chunked'], LAST_CHUNK + SMUGGLED),
    '',
  ],
  ['two equal Content-Length headers', post(['Content-Length: 2', 'Content-Length: 2'], 'ab'), 'ab'],
  ['a folded header line', post([`X-A: b\r\n Content-Length: ${SMUGGLED.length}`], ''), ''],
  ['lines that end with a bare LF', 'GET /attack HTTP/1.1\nHost: a\n\n', ''],
  ['a chunk extension', chunked(`2;a="b";c\r\nab\r\n${LAST_CHUNK}`), 'ab'],
  [
    'chunked in HTTP/1.0',
    head('POST /attack HTTP/1.0', 'Host: a', 'Transfer-Encoding: chunked') + LAST_CHUNK,
    '',
  ],
  ['a request as the body of GET', requestHead('GET /attack', length(SMUGGLED)) + SMUGGLED, SMUGGLED],
  ['a request as the body of HEAD', requestHead('HEAD /attack', length(SMUGGLED)) + SMUGGLED, SMUGGLED],
  [
    'a Content-Length that Connection names',
    post([length(SMUGGLED), 'Connection: content-length'], SMUGGLED),
    SMUGGLED,
  ],
  [
    'chunked that Connection names',
    post(['Transfer-Encoding: chunked', 'Connection: transfer-encoding'], chunk(SMUGGLED) + LAST_CHUNK),
    SMUGGLED,
  ],
  [
    'a body after an upgrade to a websocket',
    post(['Connection: Upgrade, content-length', 'Upgrade: websocket', length(SMUGGLED)], SMUGGLED),
    SMUGGLED,
  ],
  ['a body after an unknown expectation', post(['Expect: wonders', length(SMUGGLED)], SMUGGLED), SMUGGLED],
  [
    'trailers with the names of headers',
    chunked(
      `2\r\nab\r\n${head('0', 'Content-Length: 100', 'Host: elsewhere', 'X-Forwarded-For: 192.0.2.9')}`,
    ),
    'ab',
  ],
]

describe('the front', () => {
  let target: ScriptedTarget
  let elsewhere: ScriptedTarget
  let leader: FrontProcess
  let follower: FrontProcess
  /** Requests that the target received during a test. Body `null`: the request was incomplete. */
  let came: { readonly message: Message; readonly body: string | null }[] = []

  before(async () => {
    const ok = async (served: Served) => {
      const body = await served.message.rest().catch(() => null)
      came.push({ message: served.message, body: body?.toString('latin1') ?? null })
      if (body !== null)
        await served.answer(
          `${answerHead('200 OK', 'Content-Length: 2')}ok`.slice(
            0,
            served.message.method === 'HEAD' ? -2 : undefined,
          ),
        )
    }
    target = await ScriptedTarget.listen(ok)
    elsewhere = await ScriptedTarget.listen(ok)
    leader = await FrontProcess.start(target.port)
    follower = await FrontProcess.start(target.port)
  })
  beforeEach(async () => {
    came = []
    await leader.toLangFlow()
    await follower.toLeader(leader.address)
  })
  afterEach(async () => {
    // After each attack, both fronts must still serve.
    for (const front of [leader, follower])
      assert.equal((await ask(front, requestHead('GET /after'))).status, 200)
    assert.equal(elsewhere.connections, 0)
    for (const { message } of came) {
      assert.equal(message.value(HOP), undefined, 'the hop header reached the target')
      for (const [name, value] of [...message.headers, ['start', message.start] as const])
        assert.doesNotMatch(`${name}${value}`, /[\r\n\0]/)
    }
  })
  after(async () => {
    await Promise.all([leader?.stop(), follower?.stop()])
    await Promise.all([target?.close(), elsewhere?.close()])
    for (const { output } of [leader, follower]) assert.ok(!output.includes(KEY), 'the key was printed')
  })

  async function ask(front: FrontProcess, request: string): Promise<Message> {
    const client = await Wire.connect(front.port)
    void client.send(request)
    const answer = await client.answer(methodOf(request))
    await answer.rest()
    client.destroy()
    return answer
  }

  /** Returns the status line of the first answer, or `closed` if none came. Then it waits for the end of the connection. */
  async function attack(front: FrontProcess, request: string): Promise<string> {
    const client = await Wire.connect(front.port)
    void client.send(request)
    try {
      const { start } = await client.answer(methodOf(request)).then(async (answer) => {
        await answer.rest()
        return answer
      })
      return start
    } catch (error) {
      assert.doesNotMatch(`${error}`, /nothing came/)
      return 'closed'
    } finally {
      client.end()
      await client.rest()
    }
  }

  const attacks = () => came.filter(({ message }) => message.target !== '/after')

  for (const [title, request] of Object.entries(REFUSED)) {
    test(`refuses ${title}`, async () => {
      for (const front of [leader, follower]) {
        assert.match(await attack(front, request), /^(HTTP\/1\.1 (4\d\d|501|505) |closed$)/)
        assert.deepEqual(
          attacks()
            .filter(({ body }) => body !== null)
            .map(({ message }) => message.start),
          [],
        )
      }
    })
  }

  for (const [title, request, body] of ONE_REQUEST) {
    test(`forwards at most one request if it receives ${title}`, async () => {
      for (const front of [leader, follower]) {
        came = []
        const status = await attack(front, request)
        // An incomplete request doesn't count.
        const seen = attacks().filter(({ body }) => body !== null)
        if (seen.length === 0) assert.match(status, /^(HTTP\/1\.1 (4\d\d|501) |closed$)/)
        else
          assert.deepEqual(
            seen.map(({ message, body }) => [message.target, body]),
            [['/attack', body]],
          )
        for (const { message } of seen) {
          assert.ok(message.values('content-length').length <= 1)
          assert.ok(
            message.value('content-length') === undefined || message.value('transfer-encoding') === undefined,
          )
          assert.notEqual(message.value('host'), 'elsewhere')
          assert.equal(message.value('x-forwarded-for'), '127.0.0.1')
        }
      }
    })
  }

  test('forwards only to its target, regardless of the host that a request names', async () => {
    const there = `127.0.0.1:${elsewhere.port}`
    for (const path of [
      `http://${there}/`,
      `//${there}/`,
      `///${there}/`,
      `/\\${there}/`,
      `http://a@${there}/`,
      `\\\\${there}/`,
    ])
      for (const front of [leader, follower])
        await attack(front, requestHead(`GET ${path}`, `Host: ${there}`))
    assert.equal(elsewhere.connections, 0)
  })

  test('never reveals the key, not even in the answer to TRACE', async () => {
    for (const front of [leader, follower]) {
      const client = await Wire.connect(front.port)
      await client.send(requestHead('TRACE /attack', 'Connection: close', 'Max-Forwards: 0'))
      assert.ok(!(await client.rest()).includes(KEY))
    }
  })

  for (const [title, answer] of Object.entries({
    'two Content-Length headers': `${answerHead('200 OK', 'Content-Length: 2', 'Content-Length: 3')}abc`,
    'a Content-Length and chunked': `${answerHead('200 OK', 'Content-Length: 3', 'Transfer-Encoding: chunked') + LAST_CHUNK}abc`,
    'bytes that are not HTTP': 'SSH-2.0-OpenSSH_9.6\r\n',
    'NUL in a header value': answerHead('200 OK', 'X-A: a\0b', 'Content-Length: 0'),
    'a second answer without a request': `${answerHead('200 OK', 'Content-Length: 2')}ok${answerHead('200 OK', 'X-Poison: 1', 'Content-Length: 0')}`,
    'headers of a megabyte': answerHead('200 OK', `X-A: ${'a'.repeat(1024 * 1024)}`, 'Content-Length: 0'),
  })) {
    test(`gives the client exactly one valid answer if the target sends ${title}`, async (t) => {
      const strange = await ScriptedTarget.listen((served) => served.answer(answer))
      t.after(() => strange.close())
      const front = await FrontProcess.start(strange.port)
      t.after(() => front.stop())
      await front.toLangFlow()
      for (let i = 0; i < 2; i++) {
        const client = await Wire.connect(front.port)
        await client.send(requestHead('POST /', 'Content-Length: 0', 'Connection: close'))
        const all = (await client.rest()).toString('latin1')
        assert.equal(all.split('HTTP/1.1 ').length, 2, all.slice(0, 500))
        assert.match(all, /^HTTP\/1\.1 (200|502) /)
        assert.doesNotMatch(all, /\0|X-Poison/i)
        assert.ok(!(/\r\ncontent-length:/i.test(all) && /\r\ntransfer-encoding:/i.test(all)), all)
      }
    })
  }

  describe('with a hop header', () => {
    const hop = (value: string) => `${requestHead('POST /attack', `${HOP}: ${value}`, 'Content-Length: 2')}ab`
    const refused = async (front: FrontProcess, request: string, epoch: number) => {
      const answer = await ask(front, request)
      assert.deepEqual([answer.status, answer.value(HOP_EPOCH)], [421, `${epoch}`])
      assert.deepEqual(attacks(), [])
    }

    /** The front refuses the request, or treats it as a client's own and adds the client's address to X-Forwarded-For. */
    const earnsNothing = async (...hops: string[]) => {
      const spoofed = ['X-Forwarded-For: 192.0.2.1', 'Content-Length: 2']
      const answer = await ask(leader, `${requestHead('POST /attack', ...hops, ...spoofed)}ab`)
      const [seen] = attacks()
      if (seen === undefined) assert.equal(answer.status, 421)
      else assert.equal(seen.message.value('x-forwarded-for'), '192.0.2.1, 127.0.0.1')
    }

    for (const value of [
      `1 ${WRONG_KEY}`,
      `0 ${KEY}`,
      `2 ${KEY}`,
      `1 ${KEY.slice(1)}B`,
      `1 ${KEY.toLowerCase()}`,
    ]) {
      test(`refuses a wrong epoch or key: ${shown(value)}`, () => refused(leader, hop(value), 1))
    }

    for (const value of [`1 ${KEY}A`, `1 ${KEY}, 1 ${KEY}`, `1.0 ${KEY}`, KEY, '', `1 ${'A'.repeat(10_000)}`])
      test(`trusts no X-Forwarded-For if the hop header is malformed: ${shown(value)}`, () =>
        earnsNothing(`${HOP}: ${value}`))

    test('trusts no X-Forwarded-For with two hop headers, even if one has the right key', async () => {
      await earnsNothing(`${HOP}: 1 ${WRONG_KEY}`, `${HOP}: 1 ${KEY}`)
      came = []
      await earnsNothing(`${HOP}: 1 ${KEY}`, `${HOP}: 1 ${WRONG_KEY}`)
    })

    test('trusts no X-Forwarded-For if Connection names the hop header', async () => {
      await earnsNothing(`${HOP}: 1 ${WRONG_KEY}`, `Connection: ${HOP}`)
    })

    test('refuses a websocket with the wrong key', () =>
      refused(leader, upgrade('/attack', `${HOP}: 1 ${WRONG_KEY}`), 1))

    test('accepts a hop with the right epoch and key', async () => {
      assert.equal((await ask(leader, hop(`1 ${KEY}`))).status, 200)
      assert.equal(attacks().length, 1)
    })

    test('refuses each hop as a follower, and forwards it to no third front', async () => {
      for (const value of [`1 ${KEY}`, `1 ${WRONG_KEY}`]) await refused(follower, hop(value), 1)
    })

    test('refuses a hop instead of holding it if its replica does not lead, or if the key is wrong', async () => {
      await follower.toNobody({ epoch: 3 })
      await refused(follower, hop(`3 ${KEY}`), 3)
      await leader.toNobody({ key: KEY })
      await refused(leader, hop(`1 ${WRONG_KEY}`), 1)
      await leader.toLangFlow()
      await follower.toLeader(leader.address)
    })
  })

  test('forwards nothing in a loop if the leader has its own address', async (t) => {
    const front = await FrontProcess.start(target.port, { holdTimeoutMs: 500 })
    t.after(() => front.stop())
    await front.toLeader(front.address)
    const answer = await ask(front, requestHead('GET /attack'))
    assert.deepEqual([answer.status, answer.value('retry-after')], [503, '1'])
    assert.deepEqual(attacks(), [])
  })

  for (const protocol of ['h2c', 'h2c, websocket2']) {
    test(`ignores an upgrade to ${protocol}`, async () => {
      for (const front of [leader, follower]) {
        came = []
        const headers = [
          'Connection: Upgrade, HTTP2-Settings',
          `Upgrade: ${protocol}`,
          'HTTP2-Settings: AAMAAABkAAQAAP__',
        ]
        assert.equal((await ask(front, post([...headers, 'Content-Length: 2'], 'ab'))).status, 200)
        const [{ message, body }] = attacks() as [(typeof came)[number]]
        assert.deepEqual(
          [message.value('upgrade'), message.value('http2-settings'), body],
          [undefined, undefined, 'ab'],
        )
      }
    })
  }

  test('closes a connection whose request head arrives too slowly', async (t) => {
    const slow = await connections(leader, 50)
    for (const client of slow) await client.send('GET /attack HTTP/1.1\r\nHost: a\r\nX-')
    const drip = setInterval(() => {
      for (const { socket } of slow) if (socket.writable) socket.write('a')
    }, 500)
    t.after(() => clearInterval(drip))
    const silent = await connections(leader, 50)
    const ends = await Promise.all([...slow, ...silent].map((client) => client.rest(true)))
    for (const end of ends) assert.match(end.toString('latin1'), /^(HTTP\/1\.1 408 |$)/)
    assert.deepEqual(attacks(), [])
  })
})

/** A hop header for a test name, shortened and without the key. */
function shown(value: string): string {
  return JSON.stringify(value.replaceAll(KEY, '<key>').slice(0, 40))
}

function methodOf(request: string): string {
  return request.slice(0, request.indexOf(' '))
}

function connections(front: FrontProcess, count: number): Promise<Wire[]> {
  return Promise.all(Array.from({ length: count }, () => Wire.connect(front.port)))
}

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { HOP, HOP_EPOCH } from '../../agent/front/front-messages.ts'
import { until } from '../harness/wait.ts'
import { frame, TEXT } from './frames.ts'
import { FrontProcess, KEY } from './front-process.ts'
import { ScriptedTarget, type Served } from './scripted-target.ts'
import { asks, says } from './stage.ts'
import { chunk, head, type Message, Wire } from './wire.ts'

const BOUND_BYTES = 130e6
/** Each connection costs what Node and its parser keep of it. */
const IDLE_BOUND_BYTES = 200e6
const HEADS_BOUND_BYTES = 256e6
const WRONG_KEY = 'BBBBBBBBBBBBBBBBBBBBBB'
const IDLE = 5000
const CROWD = 1000
const UNFINISHED = 2000
const LARGEST_KEPT = 64 * 1024
const CRUMBLING = 40
const PIPELINING = 200
const PIPELINED = 2000
const SLOW_WITHIN_MS = 30_000

const SMUGGLED = asks('GET /smuggled')
const LAST_CHUNK = '0\r\n\r\n'
const post = (headers: string[], body: string) => asks('POST /attack', ...headers) + body
const length = (body: string) => `Content-Length: ${body.length}`
const chunked = (body: string) => post(['Transfer-Encoding: chunked'], body)

/** Must be refused, and nothing of it may reach the target whole. */
const REFUSED: Readonly<Record<string, string>> = {
  'two lengths that differ': post(['Content-Length: 0', length(SMUGGLED)], SMUGGLED),
  'two lengths in one line that differ': post([`Content-Length: 0, ${SMUGGLED.length}`], SMUGGLED),
  'a length with a sign': post(['Content-Length: +2'], `ab${SMUGGLED}`),
  'a negative length': post(['Content-Length: -2'], SMUGGLED),
  'a hexadecimal length': post(['Content-Length: 0x2'], `ab${SMUGGLED}`),
  'a length with something behind it': post(['Content-Length: 2 a'], `ab${SMUGGLED}`),
  'a length without a number': post(['Content-Length:'], SMUGGLED),
  'a length beyond every number': post([`Content-Length: ${'9'.repeat(30)}`], 'ab'),
  xchunked: post(['Transfer-Encoding: xchunked'], LAST_CHUNK + SMUGGLED),
  'chunked, then something else': post(['Transfer-Encoding: chunked, identity'], LAST_CHUNK + SMUGGLED),
  'chunked, then something else in another line': post(
    ['Transfer-Encoding: chunked', 'Transfer-Encoding: x'],
    LAST_CHUNK + SMUGGLED,
  ),
  'an encoding of transfer and a length': post(['Transfer-Encoding: x', 'Content-Length: 0'], SMUGGLED),
  'a vertical tab before chunked': post(['Transfer-Encoding: \x0bchunked'], LAST_CHUNK + SMUGGLED),
  'a space before the colon of a length': post([`Content-Length : ${SMUGGLED.length}`], SMUGGLED),
  'a space before the colon of an encoding': post(['Transfer-Encoding : chunked'], LAST_CHUNK + SMUGGLED),
  'a space before a colon': asks('GET /attack', 'X-A : b'),
  'a space before the first header': 'GET /attack HTTP/1.1\r\n Host: a\r\nX-A: b\r\n\r\n',
  'NUL in the value of a header': asks('GET /attack', 'X-A: a\0b'),
  'NUL in the name of a header': asks('GET /attack', 'X-\0A: b'),
  'NUL in the path': asks('GET /attack\0'),
  'a header without a colon': asks('GET /attack', 'X-A'),
  'a header without a name': asks('GET /attack', ': b'),
  'a bare CR in a header': asks('GET /attack', 'X-A: a\rX-Smuggled: b'),
  'a bare CR as the end of a line': 'GET /attack HTTP/1.1\rHost: a\r\r',
  'no Host': head('GET /attack HTTP/1.1'),
  'two Hosts': asks('GET /attack', 'Host: a', 'Host: b'),
  'a space in the path': asks('GET /attack /smuggled'),
  'a path that does not begin with a slash': asks('GET attack'),
  'a path that is somebody at a host': asks('GET @elsewhere.example/attack'),
  'bytes beyond ASCII in the path': asks('GET /caf\xe9'),
  'a method with odd characters': asks('G@T /attack'),
  'an unknown method': asks('BREW /attack'),
  'HTTP/2 from the start': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'HTTP/1.2': head('GET /attack HTTP/1.2', 'Host: a'),
  'HTTP/0.9': 'GET /attack\r\n\r\n',
  TLS: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  'a chunk that ends later than it says': chunked(`2\r\nabcd\r\n${LAST_CHUNK}${SMUGGLED}`),
  'a chunk that ends earlier than it says': chunked(`5\r\nab\r\n${LAST_CHUNK}${SMUGGLED}`),
  'the size of a chunk with 0x': chunked(`0x2\r\nab\r\n${LAST_CHUNK}`),
  'the size of a chunk with a sign': chunked(`-2\r\nab\r\n${LAST_CHUNK}`),
  'the size of a chunk that overflows': chunked(`10000000000000002\r\nab\r\n${LAST_CHUNK}`),
  'the size of a chunk that ends with LF': chunked(`2\nab\r\n${LAST_CHUNK}`),
  'a chunk that ends with LF': chunked(`2\r\nab\n${LAST_CHUNK}`),
  'an extension of a chunk that holds a LF': chunked(`2;\nxx\r\nab\r\n${LAST_CHUNK}`),
  'an extension of a chunk of a megabyte': chunked(`2;${'a'.repeat(1024 * 1024)}\r\nab\r\n${LAST_CHUNK}`),
  'trailers of a megabyte': chunked(`0\r\nX-A: ${'a'.repeat(1024 * 1024)}\r\n\r\n`),
}

/** May be refused; what reaches the target is one request, with that body. */
const ONE_REQUEST: Readonly<Record<string, readonly [request: string, body: string]>> = {
  'a length and chunked': [
    post(['Content-Length: 6', 'Transfer-Encoding: chunked'], LAST_CHUNK + SMUGGLED),
    '',
  ],
  'chunked and a length': [
    post(['Transfer-Encoding: chunked', 'Content-Length: 6'], LAST_CHUNK + SMUGGLED),
    '',
  ],
  'two lengths that are equal': [post(['Content-Length: 2', 'Content-Length: 2'], 'ab'), 'ab'],
  'chunked twice': [
    post(['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], `2\r\nab\r\n${LAST_CHUNK}`),
    'ab',
  ],
  'a length that is folded': [post([`X-A: b\r\n Content-Length: ${SMUGGLED.length}`], ''), ''],
  'chunked that is folded': [post(['Transfer-Encoding:\r\n chunked', 'Content-Length: 5'], LAST_CHUNK), ''],
  'lines that end with LF': ['GET /attack HTTP/1.1\nHost: a\n\n', ''],
  'a header that ends with LF': [asks('GET /attack', 'X-A: b\nX-Smuggled: 1'), ''],
  'an extension of a chunk': [chunked(`2;a="b";c\r\nab\r\n${LAST_CHUNK}`), 'ab'],
  'zeros before the size of a chunk': [chunked(`0002\r\nab\r\n${LAST_CHUNK}`), 'ab'],
  'chunked in HTTP/1.0': [
    head('POST /attack HTTP/1.0', 'Host: a', 'Transfer-Encoding: chunked') + LAST_CHUNK,
    '',
  ],
  'a request as the body of GET': [asks('GET /attack', length(SMUGGLED)) + SMUGGLED, SMUGGLED],
  'a request as the body of HEAD': [asks('HEAD /attack', length(SMUGGLED)) + SMUGGLED, SMUGGLED],
  'a request as the body of OPTIONS': [asks('OPTIONS /attack', length(SMUGGLED)) + SMUGGLED, SMUGGLED],
  'a request as the body of TRACE': [asks('TRACE /attack', length(SMUGGLED)) + SMUGGLED, SMUGGLED],
  'a request as the chunked body of GET': [
    asks('GET /attack', 'Transfer-Encoding: chunked') + chunk(SMUGGLED) + LAST_CHUNK,
    SMUGGLED,
  ],
  'a length that Connection names': [
    post([length(SMUGGLED), 'Connection: content-length'], SMUGGLED),
    SMUGGLED,
  ],
  'chunked that Connection names': [
    post(['Transfer-Encoding: chunked', 'Connection: transfer-encoding'], chunk(SMUGGLED) + LAST_CHUNK),
    SMUGGLED,
  ],
  'a body behind the upgrade to a websocket': [
    post(['Connection: Upgrade, content-length', 'Upgrade: websocket', length(SMUGGLED)], SMUGGLED),
    SMUGGLED,
  ],
  'a body behind an expectation that nobody knows': [
    post(['Expect: wonders', length(SMUGGLED)], SMUGGLED),
    SMUGGLED,
  ],
  'trailers that would be headers': [
    chunked(
      `2\r\nab\r\n${head('0', 'Content-Length: 100', 'Host: elsewhere', `${HOP}: 1 ${KEY}`, 'X-Forwarded-For: 192.0.2.9')}`,
    ),
    'ab',
  ],
}

describe('a front', () => {
  let target: ScriptedTarget
  let elsewhere: ScriptedTarget
  let leader: FrontProcess
  let follower: FrontProcess
  /** What came to the target during one test: whole, or `null`. */
  let came: { readonly message: Message; readonly body: string | null }[] = []

  before(async () => {
    const ok = async (served: Served) => {
      const body = await served.message.rest().catch(() => null)
      came.push({ message: served.message, body: body?.toString('latin1') ?? null })
      if (body !== null)
        await served.answer(
          `${says('200 OK', 'Content-Length: 2')}ok`.slice(
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
    await leader.leads()
    await follower.follows(leader)
  })
  afterEach(async () => {
    // Whatever a test did to them, they serve the others.
    for (const front of [leader, follower]) assert.equal((await ask(front, asks('GET /after'))).status, 200)
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

  /** The first answer, and the end of the connection. */
  async function ask(front: FrontProcess, request: string): Promise<Message> {
    const client = await Wire.connect(front.port)
    void client.send(request)
    const answer = await client.answer(methodOf(request))
    await answer.rest()
    client.destroy()
    return answer
  }

  /** All that comes back; the client says no more once it has one answer, or none is to come. */
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

  for (const [title, [request, body]] of Object.entries(ONE_REQUEST)) {
    test(`makes no two requests of ${title}`, async () => {
      for (const front of [leader, follower]) {
        came = []
        const status = await attack(front, request)
        // What is cut is no request.
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

  test('forwards to nobody but its target, whatever a request names', async () => {
    const there = `127.0.0.1:${elsewhere.port}`
    for (const path of [
      `http://${there}/`,
      `//${there}/`,
      `///${there}/`,
      `/\\${there}/`,
      `http://a@${there}/`,
      `\\\\${there}/`,
    ])
      for (const front of [leader, follower]) await attack(front, asks(`GET ${path}`, `Host: ${there}`))
    assert.equal(elsewhere.connections, 0)
  })

  test('answers CONNECT with an error, or not at all, and opens nothing', async () => {
    for (const front of [leader, follower]) {
      const answer = await attack(front, asks(`CONNECT 127.0.0.1:${elsewhere.port}`) + SMUGGLED)
      assert.match(answer, /^(HTTP\/1\.1 (4\d\d|501) |closed$)/)
    }
    assert.deepEqual(attacks(), [])
  })

  test('outlives a client that resets its connection after CONNECT, and lets go of one that never closes it', async () => {
    for (const front of [leader, follower]) {
      const asked = asks('CONNECT a:1')
      const client = await Wire.connect(front.port)
      await client.send(asked)
      await client.line()
      client.destroy()
      const patient = await Wire.connect(front.port)
      await patient.send(asked)
      await patient.line()
      // What it still says meets a connection that is closed on the other side.
      await until('it lets go', async () => {
        await patient.send('more')
        return patient.socket.destroyed
      })
      assert.equal((await ask(front, asks('GET /attack'))).status, 200)
    }
  })

  test('tells nobody the key, not by TRACE either', async () => {
    for (const front of [leader, follower]) {
      const client = await Wire.connect(front.port)
      await client.send(asks('TRACE /attack', 'Connection: close', 'Max-Forwards: 0'))
      assert.ok(!(await client.rest()).includes(KEY))
    }
  })

  test('takes away what Connection names, but not what it says itself', async () => {
    const named = [
      'x-secret',
      'X-Forwarded-For',
      'x-forwarded-proto',
      HOP,
      'host',
      'x-api-key2',
      'keep-alive',
      'x-api-key',
    ]
    for (const front of [leader, follower]) {
      came = []
      const headers = [
        'X-Secret: 1',
        'X-Forwarded-For: 192.0.2.1',
        'Keep-Alive: timeout=5',
        'X-Kept: 1',
        'Proxy-Connection: keep-alive',
      ]
      const answer = await ask(
        front,
        asks(
          'GET /attack',
          ...headers,
          `Connection: ${named.slice(0, 3).join(',')}`,
          `Connection: keep-alive, ${named.slice(3).join(' , ')}`,
        ),
      )
      assert.equal(answer.status, 200)
      const { message } = attacks()[0]!
      const seen = ['x-secret', 'keep-alive', 'proxy-connection', 'x-kept', 'host'].map((name) =>
        message.value(name),
      )
      assert.deepEqual(seen, [undefined, undefined, undefined, '1', 'flows.example'])
      assert.match(message.value('x-forwarded-for') ?? '', /(^|, )127\.0\.0\.1$/)
    }
  })

  test('takes away what Connection names in an answer', async (t) => {
    const strange = await ScriptedTarget.listen((served) =>
      served.answer(
        says(
          '200 OK',
          'Connection: X-Internal, keep-alive',
          'X-Internal: 1',
          'Keep-Alive: timeout=77',
          `${HOP_EPOCH}: 9`,
          'X-Kept: 1',
          'Content-Length: 0',
        ),
      ),
    )
    t.after(() => strange.close())
    const front = await FrontProcess.start(strange.port)
    t.after(() => front.stop())
    await front.leads()
    const answer = await ask(front, asks('GET /'))
    assert.deepEqual([answer.value('x-internal'), answer.value('x-kept')], [undefined, '1'])
    assert.notEqual(answer.value('keep-alive'), 'timeout=77')
  })

  for (const [title, answer] of Object.entries({
    'two lengths': `${says('200 OK', 'Content-Length: 2', 'Content-Length: 3')}abc`,
    'a length and chunked': `${says('200 OK', 'Content-Length: 3', 'Transfer-Encoding: chunked') + LAST_CHUNK}abc`,
    'what is no HTTP': 'SSH-2.0-OpenSSH_9.6\r\n',
    'NUL in a header': says('200 OK', 'X-A: a\0b', 'Content-Length: 0'),
    'a second answer that nobody asked for': `${says('200 OK', 'Content-Length: 2')}ok${says('200 OK', 'X-Poison: 1', 'Content-Length: 0')}`,
    'headers of a megabyte': says('200 OK', `X-A: ${'a'.repeat(1024 * 1024)}`, 'Content-Length: 0'),
  })) {
    test(`makes no two answers of a target that answers with ${title}`, async (t) => {
      const strange = await ScriptedTarget.listen((served) => served.answer(answer))
      t.after(() => strange.close())
      const front = await FrontProcess.start(strange.port)
      t.after(() => front.stop())
      await front.leads()
      for (let i = 0; i < 3; i++) {
        const client = await Wire.connect(front.port)
        await client.send(asks('POST /', 'Content-Length: 0', 'Connection: close'))
        const all = (await client.rest()).toString('latin1')
        assert.equal(all.split('HTTP/1.1 ').length, 2, all.slice(0, 500))
        assert.match(all, /^HTTP\/1\.1 (200|502) /)
        assert.doesNotMatch(all, /\0|X-Poison/i)
        assert.ok(!(/\r\ncontent-length:/i.test(all) && /\r\ntransfer-encoding:/i.test(all)), all)
      }
    })
  }

  test('421 of LangFlow, even with the header of a refused hop, is its answer', async (t) => {
    const strange = await ScriptedTarget.listen((served) =>
      served.answer(says('421 Misdirected Request', `${HOP_EPOCH}: 9`, 'Content-Length: 0')),
    )
    t.after(() => strange.close())
    const [first, second] = await Promise.all([
      FrontProcess.start(strange.port),
      FrontProcess.start(strange.port),
    ])
    t.after(() => Promise.all([first.stop(), second.stop()]))
    await first.leads()
    await second.follows(first)
    assert.equal((await ask(second, asks('GET /'))).status, 421)
    assert.equal(strange.served.length, 1)
  })

  describe('asked with a hop header', () => {
    const hop = (value: string) => `${asks('POST /attack', `${HOP}: ${value}`, 'Content-Length: 2')}ab`
    const refused = async (front: FrontProcess, request: string, epoch: number) => {
      const answer = await ask(front, request)
      assert.deepEqual([answer.status, answer.value(HOP_EPOCH)], [421, `${epoch}`])
      assert.deepEqual(attacks(), [])
    }

    /** Refused, or taken as the client's own, which says nothing. */
    const earnsNothing = async (...hops: string[]) => {
      const spoofed = ['X-Forwarded-For: 192.0.2.1', 'Content-Length: 2']
      const answer = await ask(leader, `${asks('POST /attack', ...hops, ...spoofed)}ab`)
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
      test(`that says ${shown(value)} refuses it`, () => refused(leader, hop(value), 1))
    }

    for (const value of [
      `1 ${KEY.slice(1)}`,
      `1 ${KEY}A`,
      `1 ${KEY} ${KEY}`,
      `1 ${KEY}, 1 ${KEY}`,
      `99999999999999999999 ${KEY}`,
      `1.0 ${KEY}`,
      `1\t${KEY}`,
      KEY,
      '1',
      '',
      `1 ${'\xe9'.repeat(22)}`,
      `1 ${'A'.repeat(30_000)}`,
      '__proto__ constructor',
    ]) {
      test(`that says ${shown(value)} lets nobody say who asks`, () => earnsNothing(`${HOP}: ${value}`))
    }

    test('twice, once with the right key, lets nobody say who asks', async () => {
      await earnsNothing(`${HOP}: 1 ${WRONG_KEY}`, `${HOP}: 1 ${KEY}`)
      came = []
      await earnsNothing(`${HOP}: 1 ${KEY}`, `${HOP}: 1 ${WRONG_KEY}`)
    })

    test('that Connection names gives it no right', async () => {
      await earnsNothing(`${HOP}: 1 ${WRONG_KEY}`, `Connection: ${HOP}`)
    })

    test('of a websocket refuses it', () => refused(leader, websocket(`${HOP}: 1 ${WRONG_KEY}`), 1))

    test('with the right key takes it', async () => {
      assert.equal((await ask(leader, hop(`1 ${KEY}`))).status, 200)
      assert.equal(attacks().length, 1)
    })

    test('as a follower refuses it, and sends nothing to a third', async () => {
      for (const value of [`1 ${KEY}`, `1 ${WRONG_KEY}`]) await refused(follower, hop(value), 1)
    })

    test('while nobody leads refuses it, and holds nothing', async () => {
      await follower.holds(3)
      await refused(follower, hop(`3 ${KEY}`), 3)
      await leader.holds(1, KEY)
      await refused(leader, hop(`1 ${WRONG_KEY}`), 1)
      await leader.leads()
      await follower.follows(leader)
    })
  })

  for (const [address, key] of [
    ...[
      '127.0.0.1:99999',
      '127.0.0.1:0',
      '127.0.0.1',
      'evil.example/..:80',
      '127.0.0.1:80@x:1',
      'http://127.0.0.1:80',
      '',
    ].map((address) => [address, KEY]),
    ...['k\u00e9y', 'k\r\nX-Smuggled: 1', ''].map((key) => ['127.0.0.1:1', key]),
  ] as [string, string][]) {
    test(`that is told of a leader at ${JSON.stringify(address)} with the key ${shown(key)} holds, and says so once`, async (t) => {
      const front = await FrontProcess.start(target.port)
      t.after(() => front.stop())
      await front.route({ to: 'leader', epoch: 1, key, address })
      await front.route({ to: 'leader', epoch: 1, key, address })
      const answers = [asks('GET /attack'), asks('POST /attack'), websocket()].map((one) => ask(front, one))
      await front.counted('they wait', ({ held }) => held === answers.length)
      await front.follows(leader)
      assert.deepEqual(
        (await Promise.all(answers)).map(({ status }) => status),
        [200, 200, 200],
      )
      const lines = front.output.trim().split('\n')
      assert.equal(lines.length, 1, front.output)
      assert.match(lines[0] as string, /nothing is sent to the leader's front/)
      assert.ok(key === '' || !front.output.includes(key))
    })
  }

  test('that meets its own address makes no loop', async (t) => {
    const front = await FrontProcess.start(target.port, { holdTimeoutMs: 500 })
    t.after(() => front.stop())
    await front.follows(front)
    const answer = await ask(front, asks('GET /attack'))
    assert.deepEqual([answer.status, answer.value('retry-after')], [503, '1'])
    assert.deepEqual(attacks(), [])
  })

  for (const protocol of ['h2c', 'foo', 'TLS/1.0', 'h2c, websocket2']) {
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

  for (const [title, request] of Object.entries({
    'without a key': websocket().replace(/Sec-WebSocket-Key:.*\r\n/, ''),
    'with a key that is none': websocket().replace(/(Sec-WebSocket-Key:).*\r\n/, '$1 a\r\n'),
    'of an old version': websocket().replace('Version: 13', 'Version: 8'),
    'without a version': websocket().replace(/Sec-WebSocket-Version:.*\r\n/, ''),
    'by POST': websocket().replace('GET', 'POST'),
    'that Connection does not name': websocket().replace('Connection: Upgrade', 'Connection: keep-alive'),
    'in HTTP/1.0': websocket().replace('HTTP/1.1', 'HTTP/1.0'),
    twice: websocket('Upgrade: websocket'),
    'as it should be': websocket(),
  })) {
    test(`opens no tunnel to a target that does not, for a handshake ${title}`, async () => {
      for (const front of [leader, follower]) {
        const client = await Wire.connect(front.port)
        await client.send(Buffer.concat([Buffer.from(request), frame(TEXT, SMUGGLED, { masked: true })]))
        const answer = await client.answer()
        assert.notEqual(answer.status, 101)
        await answer.rest()
        await client.send(SMUGGLED)
        client.end()
        await client.rest()
        for (const { message } of attacks()) assert.equal(message.value('x-forwarded-for'), '127.0.0.1')
      }
    })
  }

  test('answers requests beside thousands of connections that say nothing', async (t) => {
    const count = Math.min(IDLE, mostOpen() - 500)
    t.diagnostic(`${count} connections`)
    const idle: Wire[] = []
    for (let i = 0; i < count; i += 250) idle.push(...(await connections(leader, Math.min(250, count - i))))
    for (let i = 0; i < 200; i++) assert.equal((await ask(leader, asks('GET /beside'))).status, 200)
    t.diagnostic(`${Math.round(leader.rssBytes / 1e6)} MB`)
    assert.ok(leader.rssBytes <= IDLE_BOUND_BYTES, `${leader.rssBytes} bytes`)
    for (const client of idle) client.destroy()
  })

  test('keeps little of heads that never end', async (t) => {
    const front = await FrontProcess.start(target.port)
    t.after(() => front.stop())
    await front.leads()
    const count = Math.min(IDLE, mostOpen() - 500)
    const part = head('GET /attack HTTP/1.1', ...Array(58).fill(`X-Part: ${'h'.repeat(1000)}`)).trimEnd()
    const clients: Wire[] = []
    for (let i = 0; i < count; i += 100) {
      const more = await connections(front, 100)
      clients.push(...more)
      await Promise.all(more.map((client) => client.send(part)))
      assert.equal((await ask(front, asks('GET /beside'))).status, 200)
    }
    t.diagnostic(`${Math.round(front.rssBytes / 1e6)} MB, ${count} heads`)
    assert.ok(front.rssBytes <= HEADS_BOUND_BYTES, `${front.rssBytes} bytes`)
    for (const client of clients) client.destroy()
  })

  test('answers requests beside uploads in chunks of a byte', async (t) => {
    const front = await FrontProcess.start(target.port)
    t.after(() => front.stop())
    await front.leads()
    const uploads = await connections(front, CRUMBLING)
    const crumbs = Buffer.from(post(['Transfer-Encoding: chunked'], '1\r\na\r\n'.repeat(300_000)))
    for (const client of uploads) void client.send(crumbs)
    await front.counted('all are under way', ({ inFlight }) => inFlight === CRUMBLING)
    const took: number[] = []
    for (let i = 0; i < 10; i++) {
      const began = performance.now()
      assert.equal((await ask(front, asks('GET /beside'))).status, 200)
      took.push(performance.now() - began)
    }
    took.sort((one, other) => one - other)
    t.diagnostic(`${took.map(Math.round).join(', ')} ms`)
    assert.ok((took[5] as number) < 500, `${took[5]} ms`)
    for (const client of uploads) client.destroy()
  })

  test('keeps little of bodies that never get whole', async (t) => {
    const front = await FrontProcess.start(target.port)
    t.after(() => front.stop())
    await front.leads()
    const clients = await connections(front, UNFINISHED)
    const body = 'b'.repeat(LARGEST_KEPT - 1)
    const request = post([`Content-Length: ${LARGEST_KEPT}`], body)
    // What the kernel hands over at once is no body that is kept.
    for (let i = 0; i < UNFINISHED; i += 100) {
      await Promise.all(clients.slice(i, i + 100).map((client) => client.send(request)))
      assert.equal((await ask(front, asks('GET /beside'))).status, 200)
    }
    t.diagnostic(`${Math.round(front.rssBytes / 1e6)} MB`)
    assert.ok(front.rssBytes <= IDLE_BOUND_BYTES, `${front.rssBytes} bytes`)
    for (const client of clients) client.destroy()
  })

  for (const state of ['serves', 'holds'] as const) {
    test(`lives on when clients pipeline thousands of requests and read nothing, and it ${state}`, async (t) => {
      const front = await FrontProcess.start(target.port)
      t.after(() => front.stop())
      await (state === 'serves' ? front.leads() : front.holds())
      const clients = await connections(front, PIPELINING)
      await Promise.all(clients.map((client) => client.send(asks('GET /a').repeat(PIPELINED))))
      await front.leads()
      assert.equal((await ask(front, asks('GET /beside'))).status, 200)
      t.diagnostic(`${Math.round(front.rssBytes / 1e6)} MB`)
      assert.ok(front.rssBytes <= IDLE_BOUND_BYTES, `${front.rssBytes} bytes`)
      for (const client of clients) client.destroy()
    })
  }

  test('ends a connection whose head comes too slowly', async (t) => {
    const began = performance.now()
    const slow = await connections(leader, 50)
    for (const client of slow) await client.send('GET /attack HTTP/1.1\r\nHost: a\r\nX-')
    const drip = setInterval(() => {
      for (const { socket } of slow) if (socket.writable) socket.write('a')
    }, 500)
    t.after(() => clearInterval(drip))
    const silent = await connections(leader, 50)
    const ends = await Promise.all([...slow, ...silent].map((client) => client.rest(true)))
    t.diagnostic(`after ${Math.round(performance.now() - began)} ms`)
    for (const end of ends) assert.match(end.toString('latin1'), /^(HTTP\/1\.1 408 |$)/)
    assert.ok(performance.now() - began < SLOW_WITHIN_MS)
    assert.deepEqual(attacks(), [])
  })

  test('holds a crowd, refuses whoever is too many, forgets who goes, and serves the others', async (t) => {
    const front = await FrontProcess.start(target.port, { holdLimit: CROWD })
    t.after(() => front.stop())
    await front.holds()
    const request =
      asks('POST /attack', `Cookie: ${'c'.repeat(4096)}`, 'Content-Length: 100') + 'b'.repeat(100)
    const crowd: Wire[] = []
    for (let i = 0; i < CROWD; i += 250) crowd.push(...(await connections(front, 250)))
    for (const client of crowd) await client.send(request)
    await front.counted('all wait', ({ held }) => held === CROWD)
    const refused = await ask(front, request)
    assert.deepEqual([refused.status, refused.value('retry-after')], [503, '1'])
    assert.ok('error' in JSON.parse(refused.body.toString()))
    await front.counted('one was too many', ({ failed }) => failed.hold_limit === 1)

    for (const client of crowd.splice(0, CROWD / 2)) client.destroy()
    await front.counted('half of them went', ({ held }) => held === CROWD / 2)
    t.diagnostic(`${Math.round(front.rssBytes / 1e6)} MB while they wait`)
    await front.leads()
    const statuses = await Promise.all(crowd.map(async (client) => (await client.answer()).status))
    assert.deepEqual([...new Set(statuses)], [200])
    assert.equal(attacks().length, CROWD / 2)
    await front.counted('nobody waits', ({ held, inFlight }) => held === 0 && inFlight === 0)
    t.diagnostic(`${Math.round(front.rssBytes / 1e6)} MB after it`)
    assert.ok(front.rssBytes <= BOUND_BYTES, `${front.rssBytes} bytes`)
    for (const client of crowd) client.destroy()
  })
})

/** A hop header, for a title. */
function shown(value: string): string {
  return JSON.stringify(value.replaceAll(KEY, '<key>').slice(0, 40))
}

function methodOf(request: string): string {
  return request.slice(0, request.indexOf(' '))
}

function websocket(...headers: string[]): string {
  return asks(
    'GET /attack',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ...headers,
  )
}

function connections(front: FrontProcess, count: number): Promise<Wire[]> {
  return Promise.all(Array.from({ length: count }, () => Wire.connect(front.port)))
}

/** File descriptors that this process, and one that it starts, may have. */
function mostOpen(): number {
  const [, hard] = /^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
  return Number(hard)
}

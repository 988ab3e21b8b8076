import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { HOP_EPOCH } from '../../agent/front/front-messages.ts'
import { open } from '../harness/connection.ts'
import { at, fakeLangFlow, hungServer, received, TestFront } from './fixture.ts'

const portOf = (address: string) => Number(address.split(':')[1])
const HANDSHAKE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'

async function exchange(
  t: Parameters<typeof fakeLangFlow>[0],
  written: string,
  answer: Parameters<typeof fakeLangFlow>[1] = (_, outgoing) => outgoing.end('ok'),
) {
  const seen: { url?: string | undefined; rawHeaders: string[]; body: string }[] = []
  const langflow = await fakeLangFlow(t, async (incoming, outgoing) => {
    const body = await text(incoming)
    seen.push({ url: incoming.url, rawHeaders: incoming.rawHeaders, body })
    answer(incoming, outgoing)
  })
  const front = await TestFront.serving(t, langflow.port)
  const client = await open(t, front)
  client.write(written)
  return { seen, front, langflow, got: await received(client) }
}

function pairs(rawHeaders: readonly string[]): string[] {
  return rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${rawHeaders[i + 1]}`] : []))
}

test('request headers reach LangFlow as the client wrote them, except hop-by-hop headers', async (t) => {
  const { seen } = await exchange(
    t,
    'GET / HTTP/1.1\r\nHOST: flows.example\r\nConnection: close, X-Mine, Host\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n' +
      'Upgrade: h2c\r\nCookie: a=1\r\nCookie: b=2\r\nX-Request-ID: 7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: there\r\n' +
      'X-Twice: 1\r\nX-Twice: 2\r\nX-Latin: \xe9\r\n\r\n',
  )
  const mine = pairs(seen[0]?.rawHeaders ?? []).filter((one) => !/^connection:/i.test(one))
  assert.deepEqual(mine, [
    'HOST: flows.example',
    'Cookie: a=1',
    'Cookie: b=2',
    'X-Request-ID: 7',
    'X-Forwarded-Proto: https',
    'X-Forwarded-Host: there',
    'X-Twice: 1',
    'X-Twice: 2',
    'X-Latin: Ã©',
    'x-forwarded-for: 127.0.0.1',
  ])
})

test('an answer reaches the client as LangFlow wrote it, except hop-by-hop headers', async (t) => {
  const { got } = await exchange(
    t,
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    (_, outgoing) => {
      outgoing.sendDate = false
      outgoing.writeHead(299, 'Quite Fine', [
        ['Set-Cookie', 'a=1'],
        ['Set-Cookie', 'b=2'],
        ['Connection', 'X-Mine'],
        ['X-Mine', '1'],
        [HOP_EPOCH, '9'],
        ['Content-Length', '2'],
      ] as never)
      outgoing.end('ok')
    },
  )
  const [head, body] = got.split('\r\n\r\n')
  assert.deepEqual(head?.split('\r\n'), [
    'HTTP/1.1 299 Quite Fine',
    'Set-Cookie: a=1',
    'Set-Cookie: b=2',
    'Content-Length: 2',
    'Connection: close',
  ])
  assert.equal(body, 'ok')
})

test('a client that leaves during its upload counts as client_gone, and not as an unknown outcome', async (t) => {
  const langflow = await fakeLangFlow(t, () => {})
  const front = await TestFront.serving(t, langflow.port)
  const client = await open(t, front)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome of it')
  await langflow.seen.next('the upload', () => true)
  client.destroy()
  const { failed } = await front.counts('no request in flight', ({ inFlight }) => inFlight === 0)
  assert.deepEqual([failed.client_gone, failed.outcome_unknown, failed.cut], [1, 0, 0])
})

for (const [what, after] of [
  ['garbage', 'nonsense\r\n\r\n'],
  ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['an upgrade', 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'],
] as const)
  test(`${what} after a request never adds bytes to the request's answer`, async (t) => {
    let end = () => {}
    const langflow = await fakeLangFlow(t, (_, outgoing) => {
      outgoing.writeHead(200, { 'content-length': '1000' })
      outgoing.write('half')
      end = () => outgoing.end()
    })
    const front = await TestFront.serving(t, langflow.port)
    const client = await open(t, front)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await received(client, 'half')
    client.write(after)
    assert.equal(await received(client), '')
    end()
  })

test('a request that is sent before the answer to another one ends the connection with that answer', async (t) => {
  const langflow = await fakeLangFlow(t)
  const front = await TestFront.start(t, at(langflow.port))
  const client = await open(t, front)
  client.write('GET /one HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(2))
  await front.counts('one held request', ({ held }) => held === 1)
  client.write('GET /late HTTP/1.1\r\nHost: a\r\n\r\n')
  await front.toLangFlow()
  assert.match(await received(client), /^HTTP\/1.1 200 [^/]*ok$/)
  assert.deepEqual(langflow.seen.list, ['GET /one'])
})

for (const [what, request, answer] of [
  ['HEAD with a body', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'],
  ['204 with a body', 'GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok'],
  ['a body beyond its Content-Length', 'GET', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more'],
] as const)
  test(`a complete answer is passed back without the bytes after it: ${what}`, async (t) => {
    const { address } = await hungServer(t, (socket) => socket.once('data', () => socket.write(answer)))
    const front = await TestFront.serving(t, portOf(address))
    const client = await open(t, front)
    client.write(`${request} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
    const all = await received(client)
    assert.match(all, /^HTTP\/1\.1 20[04] /)
    assert.equal(all.endsWith('ok'), request === 'GET' && all.includes(' 200 '))
    await front.counts(
      'one forwarded request and none cut',
      ({ failed, forwarded }) => failed.cut === 0 && forwarded.langflow === 1,
    )
  })

test('a 101 from LangFlow without a valid handshake is answered with 502', async (t) => {
  const { address } = await hungServer(t, (socket) =>
    socket.on('data', () => socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n\r\n')),
  )
  const front = await TestFront.serving(t, portOf(address))
  for (const upgrade of ['', HANDSHAKE]) {
    const client = await open(t, front)
    client.write(`GET / HTTP/1.1\r\nHost: a\r\n${upgrade || 'Connection: close\r\n'}\r\n`)
    assert.match(await received(client), /^HTTP\/1\.1 502 /)
  }
})

test('an HTTP/1.0 client gets a connection reset if the answer breaks off', async (t) => {
  const langflow = await fakeLangFlow(t, (_, outgoing) => {
    outgoing.write('half')
    setImmediate(() => outgoing.destroy())
  })
  const front = await TestFront.serving(t, langflow.port)
  const client = await open(t, front)
  client.write('GET / HTTP/1.0\r\n\r\n')
  await assert.rejects(received(client), /ECONNRESET/)
})

test('a malformed body is answered with 400 and ends the request, even if the client keeps the connection open', async (t) => {
  const langflow = await fakeLangFlow(t, () => {})
  const front = await TestFront.serving(t, langflow.port)
  const client = connect({ port: front.port, host: '127.0.0.1', allowHalfOpen: true })
  t.after(() => client.destroy())
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n')
  await langflow.seen.next('the request', () => true)
  client.write('zz\r\n')
  assert.match(await received(client), /^HTTP\/1\.1 400 /)
  await front.counts(
    'the client gone and no request in flight',
    ({ failed, inFlight }) => failed.client_gone === 1 && inFlight === 0,
  )
})

for (const version of ['1.0', '1.1']) {
  test(`an HTTP/${version} client that half-closes its connection counts as gone`, async (t) => {
    const front = await TestFront.start(t)
    const client = await open(t, front)
    client.write(`GET / HTTP/${version}\r\nHost: a\r\n\r\n`)
    await front.counts('one held request', ({ held }) => held === 1)
    client.end()
    await front.counts('the client gone', ({ held, failed }) => held === 0 && failed.client_gone === 1)
  })
}

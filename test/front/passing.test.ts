import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { HOP_EPOCH } from '../../agent/front/front-messages.ts'
import { until } from '../harness/wait.ts'
import { fakeLangFlow, heard, hungServer, rawConnection, TestFront } from './fixture.ts'

const at = (port: number) => ({ target: { host: '127.0.0.1', port } })

/** What LangFlow sees of what a client writes, and what the client gets. */
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
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  const client = await rawConnection(t, front.port)
  client.write(written)
  return { seen, front, langflow, got: await heard(client) }
}

function pairs(rawHeaders: readonly string[]): string[] {
  return rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${rawHeaders[i + 1]}`] : []))
}

test('paths and queries go as they were written', async (t) => {
  const paths = ['/a/../b', '//double', '/%ff', '/%2F%2e%2e', '/a|b', '/?', '/?q=a&q=b[]']
  const written = paths.map((path, i) => {
    const last = i === paths.length - 1 ? 'Connection: close\r\n' : ''
    return `GET ${path} HTTP/1.1\r\nHost: a\r\n${last}\r\n`
  })
  const { seen } = await exchange(t, written.join(''))
  assert.deepEqual(
    seen.map(({ url }) => url),
    paths,
  )
})

test('headers go as they were written, but those of the connection', async (t) => {
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

test('a GET has its body, and one with length 0 none', async (t) => {
  const { seen } = await exchange(
    t,
    'GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc' +
      'GET /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n' +
      'DELETE /c HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n' +
      'POST /d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n' +
      'PROPFIND /e HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy' +
      'POST /f HTTP/1.1\r\nHost: a\r\nContent-Type: no/type/at;all\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}',
  )
  assert.deepEqual(
    seen.map(({ url, body }) => [url, body]),
    [
      ['/a', 'abc'],
      ['/b', 'abc'],
      ['/c', ''],
      ['/d', ''],
      ['/e', 'xy'],
      ['/f', '{}'],
    ],
  )
})

test('an answer comes back as it was given, but for headers of the connection', async (t) => {
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

test('trailers and early hints pass', async (t) => {
  const { got } = await exchange(
    t,
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    (_, outgoing) => {
      outgoing.writeEarlyHints({ link: '</a.css>; rel=preload' })
      outgoing.setHeader('trailer', 'x-sum')
      outgoing.write('ok')
      outgoing.addTrailers({ 'x-sum': '7' })
      outgoing.end()
    },
  )
  assert.match(
    got,
    /^HTTP\/1\.1 103 Early Hints\r\n[\s\S]*Link: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200 OK\r\n/i,
  )
  assert.match(got, /trailer: x-sum\r\n/)
  assert.match(got, /2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n$/)
})

test('HEAD, 204 and 304 have their headers and no body', async (t) => {
  const { got } = await exchange(
    t,
    'HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n' +
      'GET /204 HTTP/1.1\r\nHost: a\r\n\r\n' +
      'GET /304 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    ({ url }, outgoing) => {
      if (url === '/a') outgoing.writeHead(200, { 'content-length': '10' }).end()
      if (url === '/204') outgoing.writeHead(204).end()
      if (url === '/304') outgoing.writeHead(304, { etag: '"1"', 'content-length': '10' }).end()
    },
  )
  const heads = got.split('\r\n\r\n')
  assert.equal(heads.length, 4)
  assert.match(heads[0] ?? '', /^HTTP\/1\.1 200 OK\r\n[\s\S]*content-length: 10/)
  assert.match(heads[1] ?? '', /^HTTP\/1\.1 204 No Content/)
  assert.match(heads[2] ?? '', /^HTTP\/1\.1 304 Not Modified\r\n[\s\S]*etag: "1"[\s\S]*content-length: 10/)
  assert.equal(heads[3], '')
})

test('a client that does not wait for answers has its requests done one after the other', async (t) => {
  let under = 0
  let most = 0
  const { seen, got } = await exchange(
    t,
    'POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na' +
      'POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb' +
      'GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    ({ url }, outgoing) => {
      most = Math.max(most, ++under)
      setImmediate(() => {
        under--
        outgoing.end(url)
      })
    },
  )
  assert.deepEqual([most, seen.map(({ url }) => url)], [1, ['/1', '/2', '/3']])
  assert.match(got, /\/1\r?\n?[\s\S]*\/2[\s\S]*\/3/)
})

test('HTTP/1.0 clients are answered without chunks', async (t) => {
  const { got } = await exchange(t, 'GET / HTTP/1.0\r\n\r\n', (_, outgoing) => {
    outgoing.setHeader('trailer', 'x-sum')
    outgoing.write('o')
    outgoing.end('k')
  })
  assert.match(got, /\r\n\r\nok$/)
})

test('what is no request, or is none for this front, is refused', async (t) => {
  const front = await TestFront.start(t)
  for (const [written, status] of [
    ['nonsense\r\n\r\n', 400],
    ['CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 405],
    [`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(70_000)}\r\n\r\n`, 431],
    ['POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
    ['POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab', 400],
    ['GET / HTTP/1.1\r\n\r\n', 400],
  ] as const) {
    const client = await rawConnection(t, front.port)
    client.write(written)
    assert.match(await heard(client), new RegExp(`^HTTP/1.1 ${status} `), written.slice(0, 60))
  }
  await front.toLangFlow()
  const client = await rawConnection(t, front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n')
  assert.match(await heard(client), /^HTTP\/1.1 400 /)
})

test('an answer that comes before a large body has arrived is passed back, and the connection is good for more', async (t) => {
  const langflow = await fakeLangFlow(t, ({ method }, outgoing) => {
    outgoing.writeHead(method === 'POST' ? 413 : 200).end(method)
  })
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  const client = await rawConnection(t, front.port)
  const size = 8 * 1024 * 1024
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`)
  client.write(Buffer.alloc(size, 1))
  assert.match(await heard(client, 'POST'), /^HTTP\/1.1 413 /)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  assert.match(await heard(client, 'GET'), /^HTTP\/1.1 200 |\nHTTP\/1.1 200 /)
})

test('a client that goes in the middle of its upload has gone: its outcome is no failure of ours', async (t) => {
  const langflow = await fakeLangFlow(t, () => {})
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  const client = await rawConnection(t, front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome of it')
  await langflow.seen.next('the upload', () => true)
  client.destroy()
  const { failed } = await front.counts('gone', ({ inFlight }) => inFlight === 0)
  assert.deepEqual([failed.client_gone, failed.outcome_unknown, failed.cut], [1, 0, 0])
})

test('an answer reaches a slow client whole, and is not gathered in memory meanwhile', async (t) => {
  const size = 64 * 1024 * 1024
  let sent = 0
  const langflow = await fakeLangFlow(t, (_, outgoing) => {
    const more = () => {
      while (sent < size) {
        sent += 65_536
        if (!outgoing.write(Buffer.alloc(65_536, 1))) {
          outgoing.once('drain', more)
          return
        }
      }
      outgoing.end()
    }
    outgoing.writeHead(200, { 'content-length': String(size) })
    more()
  })
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  const client = await rawConnection(t, front.port)
  client.pause()
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  await front.counts('in flight', ({ inFlight }) => inFlight === 1)
  let before = -1
  await until('LangFlow writes no further', () => {
    const still = sent === before && sent > 0
    before = sent
    return still
  })
  assert.ok(sent < size / 2, `${sent} bytes were read of an answer that nobody reads`)
  let bytes = 0
  for await (const chunk of client) bytes += (chunk as Buffer).length
  assert.ok(bytes > size)
})

for (const [what, before, after] of [
  ['garbage', '', 'nonsense\r\n\r\n'],
  ['garbage behind two requests', 'GET /first HTTP/1.1\r\nHost: a\r\n\r\n', 'nonsense\r\n\r\n'],
  ['CONNECT', '', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['another protocol', '', 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'],
] as const)
  test(`${what} after a request never comes into the middle of its answer`, async (t) => {
    let end = () => {}
    const langflow = await fakeLangFlow(t, ({ url }, outgoing) => {
      if (url === '/first') {
        outgoing.end()
        return
      }
      outgoing.writeHead(200, { 'content-length': '1000' })
      outgoing.write('half')
      end = () => outgoing.end()
    })
    const front = await TestFront.start(t, at(langflow.port))
    await front.toLangFlow()
    const client = await rawConnection(t, front.port)
    client.write(`${before}GET / HTTP/1.1\r\nHost: a\r\n\r\n`)
    await heard(client, 'half')
    client.write(after)
    assert.equal(await heard(client), '')
    end()
  })

test('an answer whose words are none that may be written has none', async (t) => {
  const { address } = await hungServer(t, (socket) =>
    socket.once('data', () => socket.end('HTTP/1.1 200 o\x01k\r\nContent-Length: 2\r\n\r\nok')),
  )
  const [host = '', port] = address.split(':')
  const front = await TestFront.start(t, { target: { host, port: Number(port) } })
  await front.toLangFlow()
  for (const request of [
    'GET / HTTP/1.1\r\nHost: a\r\n',
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n',
  ]) {
    const client = await rawConnection(t, front.port)
    client.write(`${request}Connection: close\r\n\r\n${request.startsWith('POST') ? '0\r\n\r\n' : ''}`)
    assert.match(await heard(client), /^HTTP\/1\.1 (200 \r\n|502 )/)
  }
})

const GO_ON = 'HTTP/1.1 100 Continue\r\n\r\n'

test('a client that half-closes after its request has its answer, also where it was held', async (t) => {
  const langflow = await fakeLangFlow(t, (_, outgoing) => void setTimeout(() => outgoing.end('done'), 100))
  const front = await TestFront.start(t, at(langflow.port))
  for (const head of [
    'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx',
  ]) {
    await front.toNobody()
    const client = connect({ port: front.port, host: '127.0.0.1', allowHalfOpen: true })
    client.end(head)
    await front.counts('it waits', ({ held }) => held === 1)
    // By that the front finds out whether it is gone.
    await heard(client, `${GO_ON}${GO_ON}`)
    await front.toLangFlow()
    assert.match(await heard(client), /^HTTP\/1.1 200 .*done/s)
    client.destroy()
  }
  await front.counts(
    'all were answered',
    ({ forwarded, failed }) => forwarded.langflow === 2 && failed.client_gone === 0,
  )
})

test('a client of HTTP/1.0 that says no more is gone', async (t) => {
  const front = await TestFront.start(t)
  const client = await rawConnection(t, front.port)
  client.write('GET / HTTP/1.0\r\n\r\n')
  await front.counts('it waits', ({ held }) => held === 1)
  client.end()
  await front.counts('it is gone', ({ held, failed }) => held === 0 && failed.client_gone === 1)
})

test('a header may have the name of what each object has', async (t) => {
  const post =
    'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'
  const { got } = await exchange(t, post, (_, outgoing) => outgoing.setHeader('constructor', '1').end('ok'))
  assert.deepEqual(got.match(/^constructor: .*$/gim), ['constructor: 1'])
})

test('a client that goes in the middle of a stream that says nothing is gone', async (t) => {
  const langflow = await fakeLangFlow(t, (_, outgoing) => {
    outgoing.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
  })
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  const client = await rawConnection(t, front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await front.counts('a stream', ({ streams }) => streams === 1)
  client.destroy()
  await front.counts('none', ({ streams }) => streams === 0)
})

test('1,000 headers pass through two fronts, and more are refused with that reason', async (t) => {
  const langflow = await fakeLangFlow(t, ({ rawHeaders }, outgoing) => {
    outgoing.end(String(rawHeaders.filter((name) => name.startsWith('x-h')).length))
  })
  langflow.server.maxHeadersCount = 0
  const leader = await TestFront.start(t, at(langflow.port))
  const follower = await TestFront.start(t)
  await leader.toLangFlow()
  await follower.toLeader(leader.address)
  const asked = async (port: number, count: number) => {
    const client = await rawConnection(t, port)
    const lines = Array.from({ length: count - 2 }, (_, i) => `x-h${i}: 1\r\n`).join('')
    client.write(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${lines}\r\n`)
    return heard(client)
  }
  for (const { port } of [leader, follower]) {
    assert.match(await asked(port, 1_000), /^HTTP\/1.1 200 .*998/s)
    assert.match(await asked(port, 1_001), /^HTTP\/1.1 431 .*the request has more than 1000 headers/s)
  }
})

import { gzipSync } from 'node:zlib'
import { acceptOf, BINARY, CLOSE, closing, frame, readWhole, TEXT, told } from './frames.ts'
import type { Served } from './scripted-target.ts'
import { asks, type Client, DATE, type Stage, says } from './stage.ts'
import { chunk, head, type Message } from './wire.ts'

/** What a client and LangFlow say to each other, and what must be the same with fronts between them. */
export interface Exchange {
  readonly title: string
  readonly play: (stage: Stage) => Promise<void>
}

/** One request, whole, and one answer, whole. */
function simple(
  title: string,
  request: string,
  answer: string = `${says('200 OK', 'Content-Length: 2')}ok`,
): Exchange {
  return {
    title,
    async play(stage) {
      const client = await stage.connect()
      await client.send(request)
      const served = await stage.request()
      await served.message.rest()
      await served.answer(answer)
      await client.answered(request.slice(0, request.indexOf(' ')))
    },
  }
}

const EVENTS = [
  'Content-Type: text/event-stream; charset=utf-8',
  'Cache-Control: no-cache',
  'Transfer-Encoding: chunked',
]
const LAST_CHUNK = '0\r\n\r\n'
const LARGEST_THAT_IS_KEPT = 64 * 1024

/** Says each part once the one before it has been read at the other end. */
async function oneByOne(served: Served, answer: Message, parts: readonly string[]): Promise<void> {
  for (const part of parts) {
    await served.send(chunk(part))
    await answer.read(part.length)
  }
  await served.answer(LAST_CHUNK)
  await answer.rest()
}

const answers: Exchange[] = [
  {
    title: 'an answer that comes byte by byte is passed on byte by byte',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('GET /stream'))
      const served = await stage.request()
      await served.send(says('200 OK', 'Content-Type: text/plain', 'Transfer-Encoding: chunked'))
      await oneByOne(served, await client.begun(), [...'byte by byte'])
    },
  },
  {
    title: 'a head comes before the first byte of its body',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('GET /late'))
      const served = await stage.request()
      await served.send(says('200 OK', 'Content-Length: 4'))
      const answer = await client.begun()
      await served.answer('late')
      await answer.rest()
    },
  },
  {
    title: 'an SSE stream with comments, ids and many lines',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('GET /events', 'Accept: text/event-stream', 'Last-Event-ID: 41'))
      const served = await stage.request()
      await served.send(says('200 OK', ...EVENTS, 'X-Accel-Buffering: no'))
      const events = [
        ': ping\n\n',
        'id: 42\nevent: token\ndata: a\ndata: b\n\n',
        'retry: 10\n\n',
        'data: [DONE]\n\n',
      ]
      await oneByOne(served, await client.begun(), events)
    },
  },
  {
    title: 'an answer to a POST streams as one to a GET does',
    async play(stage) {
      const client = await stage.connect()
      await client.send(`${asks('POST /api/v1/run/x?stream=true', 'Content-Length: 2')}{}`)
      const served = await stage.request()
      await served.message.rest()
      await served.send(says('200 OK', ...EVENTS))
      await oneByOne(served, await client.begun(), ['{"event":"token"}\n\n', '{"event":"end"}\n\n'])
    },
  },
  {
    title: 'an answer whose end is the end of its connection',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('GET /until-closed'))
      const served = await stage.request()
      await served.send(`${says('200 OK', 'Content-Type: text/plain')}first`)
      const answer = await client.begun()
      await answer.read(5)
      await served.send('second')
      served.wire.end()
      served.done()
      await answer.rest()
    },
  },
  {
    title: 'an answer in HTTP/1.0',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('GET /old'))
      const served = await stage.request()
      await served.send(`${head('HTTP/1.0 200 OK', 'Content-Type: text/plain')}old`)
      served.wire.end()
      served.done()
      await client.answered()
    },
  },
  {
    title: 'an answer that is cut short of its length is cut for the client',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('POST /cut', 'Content-Length: 0'))
      const served = await stage.request()
      await served.send(`${says('200 OK', 'Content-Length: 10')}half`)
      const answer = await client.begun()
      await answer.read(4)
      served.wire.destroy()
      served.done()
      stage.note(
        await answer.rest().then(
          () => 'whole',
          () => 'cut',
        ),
      )
    },
  },
  {
    title: 'a chunked answer that is cut is cut for the client, and does not end well',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('GET /cut-chunked'))
      const served = await stage.request()
      await served.send(says('200 OK', 'Transfer-Encoding: chunked') + chunk('half'))
      const answer = await client.begun()
      await answer.read(4)
      served.wire.destroy()
      served.done()
      stage.note(
        await answer.rest().then(
          () => 'whole',
          () => 'cut',
        ),
      )
    },
  },
  simple(
    'chunked with trailers',
    asks('GET /trailers', 'TE: trailers', 'Connection: TE'),
    says('200 OK', 'Transfer-Encoding: chunked', 'Trailer: X-Checksum, X-Took') +
      chunk('abc') +
      head('0', 'X-Checksum: 900150983cd24fb0', 'X-Took: 3'),
  ),
  simple(
    'a chunked answer with nothing in it',
    asks('GET /empty'),
    says('200 OK', 'Transfer-Encoding: chunked') + LAST_CHUNK,
  ),
  simple('HEAD with a length', asks('HEAD /file'), says('200 OK', 'Content-Length: 1234567', 'ETag: "x"')),
  simple('HEAD without a length', asks('HEAD /file'), says('200 OK', 'Content-Type: text/plain')),
  simple('HEAD of what would be chunked', asks('HEAD /file'), says('200 OK', 'Transfer-Encoding: chunked')),
  simple('204', asks('DELETE /api/v1/flows/1'), says('204 No Content', 'X-Deleted: 1')),
  simple(
    '304 with the length of what it stands for',
    asks('GET /static/a.js', 'If-None-Match: "a"', 'If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT'),
    says('304 Not Modified', 'ETag: "a"', 'Content-Length: 4711', `Date: ${DATE}`),
  ),
  simple(
    '206 with ranges',
    asks('GET /file', 'Range: bytes=0-1,4-5'),
    `${says('206 Partial Content', 'Content-Range: bytes 0-1/6', 'Accept-Ranges: bytes', 'Content-Length: 2')}ab`,
  ),
  simple(
    'a redirect stays as it is',
    asks('GET /old'),
    says('307 Temporary Redirect', 'Location: http://flows.example/new?a=%2F', 'Content-Length: 0'),
  ),
  simple('a status that nobody knows', asks('GET /'), `${says('299 Very Well', 'Content-Length: 1')}x`),
  simple('a status without a reason', asks('GET /'), `${head('HTTP/1.1 200 ', 'Content-Length: 1')}x`),
  simple('500 with a body', asks('GET /'), `${says('500 Internal Server Error', 'Content-Length: 2')}{}`),
  simple(
    '503 of LangFlow itself, with its own Retry-After',
    asks('GET /'),
    `${says('503 Service Unavailable', 'Retry-After: 7', 'Content-Length: 2')}{}`,
  ),
  simple(
    '421 of LangFlow itself is its answer, and no refused hop',
    asks('GET /'),
    `${says('421 Misdirected Request', 'Content-Length: 2')}{}`,
  ),
  simple(
    '401 with its challenge',
    asks('GET /'),
    says('401 Unauthorized', 'WWW-Authenticate: Bearer realm="x", error="y"', 'Content-Length: 0'),
  ),
  simple(
    'several cookies',
    asks('GET /login', 'Cookie: a=1; b="2, 3"; c='),
    says(
      '200 OK',
      'Set-Cookie: access_token_lf=abc; Path=/; HttpOnly; SameSite=lax',
      'Set-Cookie: refresh_token_lf=d,e; Expires=Thu, 01 Jan 2026 00:00:00 GMT',
      'Set-Cookie: empty=',
      'Content-Length: 0',
    ),
  ),
  simple(
    'a compressed answer stays as it is',
    asks('GET /gzip', 'Accept-Encoding: gzip, br;q=0.5, *;q=0'),
    ((body) =>
      says('200 OK', 'Content-Encoding: gzip', 'Vary: Accept-Encoding', `Content-Length: ${body.length}`) +
      body.toString('latin1'))(gzipSync('compressed by LangFlow')),
  ),
  simple(
    'what is not compressed stays so',
    asks('GET /plain', 'Accept-Encoding: gzip'),
    `${says('200 OK', 'Content-Type: application/json', 'Content-Length: 2000')}${'a'.repeat(2000)}`,
  ),
  simple(
    'duplicate headers of an answer',
    asks('GET /'),
    says(
      '200 OK',
      'X-A: 1',
      'X-B: 1',
      'X-A: 2',
      'Link: </a>',
      'Link: </b>',
      'Vary: a',
      'Vary: b',
      'Content-Length: 0',
    ),
  ),
  simple(
    'a date that LangFlow says',
    asks('GET /'),
    says('200 OK', `Date: ${DATE}`, 'Server: uvicorn', 'Content-Length: 0'),
  ),
  simple(
    'a header of 60 KiB in an answer',
    asks('GET /'),
    says('200 OK', `X-Big: ${'b'.repeat(60 * 1024)}`, 'Content-Length: 0'),
  ),
  simple(
    'bytes beyond ASCII in headers of an answer',
    asks('GET /'),
    says(
      '200 OK',
      'X-Name: caf\xe9 \xc3\xa9',
      'Content-Disposition: attachment; filename="\xc3\xa9.json"',
      'Content-Length: 0',
    ),
  ),
  simple(
    'CORS',
    asks(
      'OPTIONS /api/v1/run/x',
      'Origin: https://a.example',
      'Access-Control-Request-Method: POST',
      'Access-Control-Request-Headers: x-api-key',
    ),
    says(
      '200 OK',
      'Access-Control-Allow-Origin: https://a.example',
      'Access-Control-Allow-Credentials: true',
      'Vary: Origin',
      'Content-Length: 0',
    ),
  ),
]

const informing: Exchange[] = [
  {
    title: 'a client that expects 100 is told to go on, and sends its body then',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('POST /upload', 'Content-Length: 5', 'Expect: 100-continue'))
      const answer = client.begun()
      // Whether the front or the target says it is left to them: a small body is read whole before it is sent on.
      const served = stage.request().then(async (one) => {
        if (one.message.value('expect') !== undefined) await one.send(says('100 Continue'))
        return one
      })
      await stage.informed(100)
      await client.send('later')
      const { message } = await served
      await message.rest()
      await (await served).answer(`${says('200 OK', 'Content-Length: 2')}ok`)
      await (await answer).rest()
    },
  },
  {
    title: 'a client that expects 100 and is refused by the target at once',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('POST /upload', 'Content-Length: 1000000', 'Expect: 100-continue'))
      const served = await stage.request()
      await served.send(`${says('401 Unauthorized', 'Content-Length: 2', 'Connection: close')}no`)
      served.wire.end()
      served.done()
      await client.answered()
    },
  },
  {
    title: '103 comes before the answer that it announces',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('GET /page'))
      const served = await stage.request()
      await served.send(
        says('103 Early Hints', 'Link: </style.css>; rel=preload; as=style', 'Link: </a.js>; rel=preload'),
      )
      const answer = client.begun()
      await stage.informed(103)
      await served.answer(`${says('200 OK', 'Content-Length: 2')}ok`)
      await (await answer).rest()
    },
  },
]

const PATHS = [
  '/',
  '/?',
  '/a%2Fb/%7Euser/%C3%A9',
  '/a//b///c',
  '//a.example/b',
  '/a/./b/../c',
  '/%2e%2e/%2e',
  '/a;v=1/b=c:d@e',
  '/a?b?c=/d&&e=%20+%zz&=&f',
  '/%',
  '/a%00b',
  '/!$&\'()*,[]|^`{}"<>\\',
  `/${'long/'.repeat(1500)}?q=${'x'.repeat(500)}`,
]
const METHODS = [
  'GET',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'PROPFIND',
  'REPORT',
  'SEARCH',
  'PURGE',
  'M-SEARCH',
  'LOCK',
  'QUERY',
]

const requests: Exchange[] = [
  ...PATHS.map((path) => simple(`path ${path.slice(0, 40)}`, asks(`GET ${path}`))),
  ...METHODS.map((method) => simple(`method ${method}`, asks(`${method} /a`))),
  ...['POST', 'PUT', 'PATCH', 'DELETE', 'GET', 'OPTIONS', 'PROPFIND'].map((method) =>
    simple(`${method} with a body`, `${asks(`${method} /a`, 'Content-Length: 4', 'Content-Type: x/y')}body`),
  ),
  simple('POST without a body', asks('POST /a')),
  simple('POST with a length of 0', asks('POST /a', 'Content-Length: 0')),
  simple(
    'a chunked body',
    asks('POST /a', 'Transfer-Encoding: chunked') + chunk('abc') + chunk('d'.repeat(5000)) + LAST_CHUNK,
  ),
  simple('a chunked body with nothing in it', asks('POST /a', 'Transfer-Encoding: chunked') + LAST_CHUNK),
  simple(
    'a chunked body with trailers',
    asks('POST /a', 'Transfer-Encoding: chunked', 'Trailer: X-Checksum') +
      chunk('abc') +
      head('0', 'X-Checksum: 1'),
  ),
  ...[LARGEST_THAT_IS_KEPT, LARGEST_THAT_IS_KEPT + 1, 1024 * 1024].map((length) =>
    simple(`a body of ${length} bytes`, asks('POST /a', `Content-Length: ${length}`) + 'b'.repeat(length)),
  ),
  simple(
    'every byte in a body',
    asks('POST /a', 'Content-Length: 256') + String.fromCharCode(...Array(256).keys()),
  ),
  simple('Host with a port', asks('GET /', 'Host: Flows.Example:8443')),
  simple('Host that is an IPv6 address', asks('GET /', 'Host: [2001:db8::1]:80')),
  simple(
    'request ids',
    asks(
      'GET /',
      'X-Request-ID: 7b1d',
      'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      'tracestate: a=1,b=2',
    ),
    says('200 OK', 'X-Request-ID: 7b1d', 'Content-Length: 0'),
  ),
  simple(
    'duplicate headers of a request',
    asks('GET /', 'X-A: 1', 'X-B: 1', 'X-A: 2', 'Accept: a/b', 'Accept: c/d', 'Cookie: a=1', 'Cookie: b=2'),
  ),
  simple('a header of 60 KiB in a request', asks('GET /', `X-Big: ${'b'.repeat(60 * 1024)}`)),
  simple('300 headers', asks('GET /', ...Array.from({ length: 300 }, (_, i) => `X-${i}: ${i}`))),
  simple('bytes beyond ASCII in headers of a request', asks('GET /', 'X-Name: caf\xe9 \xc3\xa9')),
  simple(
    'odd headers',
    asks(
      'GET /',
      "X!#$%&'*+-.^_`|~9: odd",
      'X-Empty:',
      'X-Blank: \t a \t b \t',
      'x_under: score',
      '__proto__: a',
      'constructor: b',
    ),
  ),
  simple('authorization passes', asks('GET /', 'Authorization: Bearer abc', 'x-api-key: sk-1')),
  simple(
    'other forwarding headers pass',
    asks(
      'GET /',
      'Forwarded: for=192.0.2.1;proto=https',
      'X-Forwarded-Port: 443',
      'X-Forwarded-Prefix: /flows',
      'X-Real-IP: 192.0.2.1',
      'Via: 1.1 ingress',
    ),
  ),
  {
    title: 'a body that comes byte by byte is passed on byte by byte',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('POST /a', 'Transfer-Encoding: chunked') + chunk('a'))
      const served = await stage.request()
      await served.message.read(1)
      for (const byte of 'bcd') {
        await client.send(chunk(byte))
        await served.message.read(1)
      }
      await client.send(LAST_CHUNK)
      await served.message.rest()
      await served.answer(says('200 OK', 'Content-Length: 0'))
      await client.answered()
    },
  },
  {
    title: 'a head that comes in pieces',
    async play(stage) {
      const client = await stage.connect()
      for (const piece of asks('GET /a', 'X-A: b').match(/.{1,7}/gs) ?? []) await client.send(piece)
      const served = await stage.request()
      await served.answer(says('200 OK', 'Content-Length: 0'))
      await client.answered()
    },
  },
  {
    title: 'a client of HTTP/1.0, whose connection ends after the answer',
    async play(stage) {
      const client = await stage.connect()
      await client.send(head('GET /old HTTP/1.0', 'Host: flows.example'))
      const served = await stage.request()
      await served.send(`${says('200 OK', 'Connection: close')}old`)
      served.wire.end()
      served.done()
      const answer = await client.begun()
      stage.note(answer.framing === 'chunked' ? 'chunked' : 'not chunked')
      await answer.rest()
      stage.note(`${await client.piece()}`)
    },
  },
  {
    title: 'Connection: close ends the connection after the answer',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('GET /a', 'Connection: close'))
      const served = await stage.request()
      await served.send(`${says('200 OK', 'Content-Length: 2', 'Connection: close')}ok`)
      served.wire.end()
      served.done()
      await client.answered()
      stage.note(`${await client.piece()}`)
    },
  },
]

const connections: Exchange[] = [
  {
    title: 'one connection for twenty requests',
    async play(stage) {
      const client = await stage.connect()
      for (let i = 0; i < 20; i++) {
        await client.send(`${asks(`POST /${i}`, 'Content-Length: 1')}x`)
        const served = await stage.request()
        await served.message.rest()
        await served.answer(says('200 OK', `X-Which: ${i}`, 'Content-Length: 0'))
        await client.answered()
      }
    },
  },
  {
    title: 'pipelined requests are answered in their order',
    async play(stage) {
      const client = await stage.connect()
      const names = ['/one', '/two', '/three', '/four']
      await client.send(names.map((name) => asks(`GET ${name}`)).join(''))
      const first = await stage.request()
      await first.send(`${says('200 OK', 'X-Which: /one', 'Content-Length: 4')}ha`)
      const answer = await client.begun()
      await answer.read(2)
      // A front may have sent the others already, and may have their answers before this one is whole.
      const others: Served[] = []
      const rest = async (served: Served) => {
        others.push(served)
        await served.answer(says('200 OK', `X-Which: ${served.message.target}`, 'Content-Length: 0'))
      }
      while (stage.target.waiting.length > 0) await rest(await stage.request())
      await first.answer('lf')
      await answer.rest()
      while (others.length < names.length - 1) await rest(await stage.request())
      for (const _ of others) await client.answered()
      stage.requests.sort((a, b) => names.indexOf(a.target) - names.indexOf(b.target))
    },
  },
  {
    title: 'pipelined requests with bodies',
    async play(stage) {
      const client = await stage.connect()
      await client.send(
        ['a', 'b', 'c'].map((body) => `${asks(`POST /${body}`, 'Content-Length: 1')}${body}`).join(''),
      )
      for (let i = 0; i < 3; i++) {
        const served = await stage.request()
        await served.message.rest()
        await served.answer(says('200 OK', `X-Which: ${served.message.target}`, 'Content-Length: 0'))
      }
      for (let i = 0; i < 3; i++) await client.answered()
    },
  },
  {
    title: 'a target that closes each connection, also without a word',
    async play(stage) {
      for (const closes of [['Connection: close'], [], ['Connection: close'], []]) {
        const client = await stage.connect()
        await client.send(asks('POST /once', 'Content-Length: 0'))
        const served = await stage.request()
        await served.send(says('200 OK', ...closes, 'Content-Length: 0'))
        served.wire.end()
        served.done()
        await client.answered()
      }
    },
  },
]

const aborts: Exchange[] = [
  {
    title: 'a client that goes before an answer',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('POST /wait', 'Content-Length: 0'))
      const served = await stage.request()
      client.destroy()
      stage.note(await ends(served))
    },
  },
  {
    title: 'a client that goes in the middle of an answer',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('GET /stream'))
      const served = await stage.request()
      await served.send(says('200 OK', ...EVENTS) + chunk('data: 1\n\n'))
      const answer = await client.begun()
      await answer.read(9)
      client.destroy()
      stage.note(await ends(served))
    },
  },
  {
    title: 'a client that closes in the middle of an answer',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('GET /stream'))
      const served = await stage.request()
      await served.send(says('200 OK', ...EVENTS) + chunk('data: 1\n\n'))
      const answer = await client.begun()
      await answer.read(9)
      client.socket.destroy()
      stage.note(await ends(served))
    },
  },
  ...['Content-Length: 1000000', 'Transfer-Encoding: chunked'].map((framing) => ({
    title: `a client that goes in the middle of its body (${framing})`,
    async play(stage: Stage) {
      const client = await stage.connect()
      await client.send(
        asks('POST /upload', framing) + (framing.includes('chunked') ? chunk('abcd') : 'abcd'),
      )
      const served = await stage.request()
      await served.message.read(4)
      client.destroy()
      stage.note(
        await served.message.rest().then(
          () => 'whole',
          () => 'cut',
        ),
      )
    },
  })),
  {
    title: 'an answer that comes before its request has ended',
    async play(stage) {
      const client = await stage.connect()
      await client.send(`${asks('POST /upload', 'Content-Length: 1000000')}abcd`)
      const served = await stage.request()
      await served.message.read(4)
      await served.send(`${says('413 Content Too Large', 'Content-Length: 5', 'Connection: close')}large`)
      served.wire.end()
      served.done()
      await client.answered()
    },
  },
  {
    title: 'an answer that streams while its request still does',
    async play(stage) {
      const client = await stage.connect()
      await client.send(asks('POST /both', 'Transfer-Encoding: chunked') + chunk('a'))
      const served = await stage.request()
      await served.message.read(1)
      await served.send(says('200 OK', 'Transfer-Encoding: chunked') + chunk('A'))
      const answer = await client.begun()
      await answer.read(1)
      await client.send(chunk('b') + LAST_CHUNK)
      await served.message.rest()
      await served.answer(chunk('B') + LAST_CHUNK)
      await answer.rest()
    },
  },
]

/** How the target learns that nobody waits for its answer. */
async function ends(served: Served): Promise<string> {
  const rest = await served.wire.rest()
  served.done()
  return `${rest.length} bytes more, then the end`
}

const MASKED = { masked: true }
/** `Hello`, compressed: RFC 7692, 7.2.3.1. */
const HELLO = Buffer.from('f248cdc9c90700', 'hex')
const COMPRESSED = frame(TEXT, HELLO, MASKED)
COMPRESSED[0] = (COMPRESSED[0] as number) | 0x40
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='

function upgrade(path: string, ...headers: string[]): string {
  return asks(
    `GET ${path}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${KEY}`,
    ...headers,
  )
}

/** Opens a websocket through to the target. */
export async function websocket(
  stage: Stage,
  headers: string[] = [],
  agreed: (served: Served) => string[] = () => [],
) {
  const client = await stage.connect()
  await client.send(upgrade('/api/v1/ws?x=%2F', ...headers))
  const served = await stage.request()
  const key = served.message.value('sec-websocket-key') ?? ''
  const accept = `Sec-WebSocket-Accept: ${acceptOf(key)}`
  await served.send(
    says('101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade', accept, ...agreed(served)),
  )
  const answer = await client.begun()
  stage.note(answer.value('sec-websocket-accept') === acceptOf(KEY) ? 'accepted' : 'not accepted')
  return { client, served }
}

/** The target reads a close, and ends the connection, as servers do. `first`: it said so first. */
async function hangsUp({ served }: Socket, first: boolean): Promise<string> {
  const close = await readWhole(served.wire)
  if (!first) await served.send(frame(CLOSE, close.payload, { masked: false }))
  served.wire.end()
  served.done()
  return told(close)
}

/** The client reads a close, and the end of the connection. */
async function readsClose(client: Client, answers: boolean): Promise<string> {
  const close = await readWhole(client)
  if (answers) await client.send(frame(CLOSE, close.payload, MASKED))
  return `${told(close)}, then ${(await client.rest()).length} bytes`
}

type Socket = Awaited<ReturnType<typeof websocket>>

/** Sends a message, and notes it as it comes to the target and back. */
async function echo(stage: Stage, { client, served }: Socket, message: Buffer): Promise<void> {
  const [there] = await Promise.all([readWhole(served.wire), client.send(message)])
  const answer = frame(there.opcode, there.payload, { masked: false })
  const [back] = await Promise.all([readWhole(client), served.send(answer)])
  stage.note(
    `${told(there)}, ${there.masked ? 'masked' : 'plain'} there, ${back.masked ? 'masked' : 'plain'} back: ${told(back)}`,
  )
}

const websockets: Exchange[] = [
  {
    title: 'a websocket echoes text, binary, nothing, and what is large',
    async play(stage) {
      const socket = await websocket(stage, ['Origin: https://a.example', 'Cookie: a=1'])
      await echo(stage, socket, frame(TEXT, 'h\u00e9llo', MASKED))
      await echo(stage, socket, frame(BINARY, Buffer.from([...Array(256).keys()]), MASKED))
      await echo(stage, socket, frame(TEXT, '', MASKED))
      await echo(stage, socket, frame(TEXT, 'a'.repeat(200), MASKED))
      await echo(stage, socket, frame(BINARY, Buffer.alloc(300_000, 7), MASKED))
    },
  },
  {
    title: 'a subprotocol is chosen by the target',
    async play(stage) {
      const asked = ['Sec-WebSocket-Protocol: a, b', 'Sec-WebSocket-Protocol: c']
      const socket = await websocket(stage, asked, () => ['Sec-WebSocket-Protocol: b', 'X-More: 1'])
      await echo(stage, socket, frame(TEXT, 'in b', MASKED))
    },
  },
  {
    title: 'a client and a target compress what they say',
    async play(stage) {
      const asked = ['Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits']
      const agreed = ['Sec-WebSocket-Extensions: permessage-deflate']
      const { client, served } = await websocket(stage, asked, () => agreed)
      await client.send(COMPRESSED)
      stage.note((await readWhole(served.wire)).payload.equals(HELLO) ? 'compressed' : 'changed')
    },
  },
  {
    title: 'a websocket closed by the target, and by the client',
    async play(stage) {
      const one = await websocket(stage)
      await one.served.send(closing(1011, 'broken', false))
      stage.note(`${await Promise.all([hangsUp(one, true), readsClose(one.client, true)])}`)
      const two = await websocket(stage)
      await two.client.send(closing(4001, 'of its own', true))
      stage.note(`${await Promise.all([hangsUp(two, false), readsClose(two.client, false)])}`)
    },
  },
  {
    title: 'a websocket whose client breaks breaks for the target',
    async play(stage) {
      const { client, served } = await websocket(stage)
      client.destroy()
      stage.note(await ends(served))
    },
  },
  {
    title: 'a websocket whose target breaks breaks for the client',
    async play(stage) {
      const { client, served } = await websocket(stage)
      served.wire.destroy()
      served.done()
      stage.note(`${(await client.rest()).length} bytes more`)
    },
  },
  {
    title: 'what the client says before it was answered is not lost',
    async play(stage) {
      const client = await stage.connect()
      await client.send(Buffer.concat([Buffer.from(upgrade('/ws')), frame(TEXT, 'early', MASKED)]))
      const served = await stage.request()
      const accept = `Sec-WebSocket-Accept: ${acceptOf(served.message.value('sec-websocket-key') ?? '')}`
      await served.send(says('101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade', accept))
      await client.begun()
      stage.note(told(await readWhole(served.wire)))
    },
  },
  {
    title: 'what the target says with its 101 is not lost',
    async play(stage) {
      const client = await stage.connect()
      await client.send(upgrade('/ws'))
      const served = await stage.request()
      const accept = `Sec-WebSocket-Accept: ${acceptOf(served.message.value('sec-websocket-key') ?? '')}`
      const switched = says('101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade', accept)
      await served.send(Buffer.concat([Buffer.from(switched), frame(TEXT, 'welcome', { masked: false })]))
      await client.begun()
      stage.note(told(await readWhole(client)))
    },
  },
  {
    title: 'a websocket that the target refuses',
    async play(stage) {
      const client = await stage.connect()
      await client.send(upgrade('/ws'))
      const served = await stage.request()
      await served.send(`${says('403 Forbidden', 'X-Why: no', 'Content-Length: 2', 'Connection: close')}no`)
      served.wire.end()
      served.done()
      await client.answered()
    },
  },
]

const JSON_RPC = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}'

const mcp: Exchange[] = [
  {
    title:
      'MCP, streamable HTTP: answers as JSON and as events, a stream of the server beside them, and the end of the session',
    async play(stage) {
      const client = await stage.connect()
      const path = '/api/v1/mcp/project/1/streamable'
      const accepts = 'Accept: application/json, text/event-stream'
      const posted = (body: string, ...headers: string[]) =>
        asks(
          `POST ${path}`,
          accepts,
          'Content-Type: application/json',
          `Content-Length: ${body.length}`,
          ...headers,
        ) + body
      await client.send(posted(JSON_RPC))
      const initialized = await stage.request()
      await initialized.message.rest()
      await initialized.answer(
        `${says('200 OK', 'Content-Type: application/json', 'Mcp-Session-Id: 7', 'Content-Length: 2')}{}`,
      )
      await client.answered()

      const listening = await stage.connect()
      await listening.send(
        asks(
          `GET ${path}`,
          'Accept: text/event-stream',
          'Mcp-Session-Id: 7',
          'MCP-Protocol-Version: 2025-06-18',
        ),
      )
      const stream = await stage.request()
      await stream.send(says('200 OK', ...EVENTS, 'Mcp-Session-Id: 7'))
      const events = await listening.begun()

      await client.send(posted('{"method":"tools/call"}', 'Mcp-Session-Id: 7'))
      const called = await stage.request()
      await called.message.rest()
      await called.send(says('200 OK', ...EVENTS))
      await stream.send(chunk('event: message\ndata: {"method":"notifications/progress"}\n\n'))
      await events.read(20)
      await oneByOne(called, await client.begun(), ['event: message\ndata: {"result":{}}\n\n'])

      await client.send(posted('{"method":"notifications/initialized"}', 'Mcp-Session-Id: 7'))
      const notified = await stage.request()
      await notified.message.rest()
      await notified.answer(says('202 Accepted', 'Content-Length: 0'))
      await client.answered()

      await client.send(asks(`DELETE ${path}`, 'Mcp-Session-Id: 7'))
      await (await stage.request()).answer(says('200 OK', 'Content-Length: 0'))
      await client.answered()
      await stream.answer(LAST_CHUNK)
      await events.rest()
    },
  },
  {
    title: 'MCP, SSE: what is posted is answered in the stream',
    async play(stage) {
      const listening = await stage.connect()
      await listening.send(
        asks('GET /api/v1/mcp/sse', 'Accept: text/event-stream', 'Cache-Control: no-store'),
      )
      const stream = await stage.request()
      await stream.send(says('200 OK', ...EVENTS))
      const events = await listening.begun()
      const endpoint = 'event: endpoint\r\ndata: /api/v1/mcp/?session_id=0f\r\n\r\n'
      await stream.send(chunk(endpoint))
      await events.read(endpoint.length)
      const client = await stage.connect()
      const start = 'POST /api/v1/mcp/?session_id=0f'
      await client.send(
        asks(start, 'Content-Type: application/json', `Content-Length: ${JSON_RPC.length}`) + JSON_RPC,
      )
      const posted = await stage.request()
      await posted.message.rest()
      await posted.answer(`${says('202 Accepted', 'Content-Length: 8')}Accepted`)
      await client.answered()
      const result = 'event: message\r\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\r\n\r\n'
      await stream.send(chunk(result))
      await events.read(result.length)
      listening.destroy()
      stage.note(await ends(stream))
    },
  },
]

export const EXCHANGES: readonly Exchange[] = [
  ...answers,
  ...informing,
  ...requests,
  ...connections,
  ...aborts,
  ...websockets,
  ...mcp,
]

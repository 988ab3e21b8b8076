import { gzipSync } from 'node:zlib'
import { acceptOf, BINARY, CLOSE, closing, describeFrame, frame, readWhole, TEXT } from './frames.ts'
import type { Served } from './scripted-target.ts'
import { answerHead, type Client, DATE, requestHead, type Stage } from './stage.ts'
import { chunk, head, type Message } from './wire.ts'

/** An exchange between a client and LangFlow, whose transcript must be the same with and without fronts. */
export interface Exchange {
  readonly title: string
  readonly play: (stage: Stage) => Promise<void>
}

/** One complete request and one complete answer. */
function simple(
  title: string,
  request: string,
  answer: string = `${answerHead('200 OK', 'Content-Length: 2')}ok`,
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

/** Sends each part only after the client has read the previous one, which proves that fronts don't buffer. */
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
    title: 'an answer that arrives byte by byte',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('GET /stream'))
      const served = await stage.request()
      await served.send(answerHead('200 OK', 'Content-Type: text/plain', 'Transfer-Encoding: chunked'))
      await oneByOne(served, await client.begun(), [...'byte by byte'])
    },
  },
  {
    title: 'an answer whose head arrives before its body',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('GET /late'))
      const served = await stage.request()
      await served.send(answerHead('200 OK', 'Content-Length: 4'))
      const answer = await client.begun()
      await served.answer('late')
      await answer.rest()
    },
  },
  {
    title: 'an SSE stream with comments, ids and multi-line data',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('GET /events', 'Accept: text/event-stream', 'Last-Event-ID: 41'))
      const served = await stage.request()
      await served.send(answerHead('200 OK', ...EVENTS, 'X-Accel-Buffering: no'))
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
    title: 'a streamed answer to a POST',
    async play(stage) {
      const client = await stage.connect()
      await client.send(`${requestHead('POST /api/v1/run/x?stream=true', 'Content-Length: 2')}{}`)
      const served = await stage.request()
      await served.message.rest()
      await served.send(answerHead('200 OK', ...EVENTS))
      await oneByOne(served, await client.begun(), ['{"event":"token"}\n\n', '{"event":"end"}\n\n'])
    },
  },
  {
    title: 'an answer that ends with its connection',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('GET /until-closed'))
      const served = await stage.request()
      await served.send(`${answerHead('200 OK', 'Content-Type: text/plain')}first`)
      const answer = await client.begun()
      await answer.read(5)
      await served.send('second')
      served.wire.end()
      served.done()
      await answer.rest()
    },
  },
  {
    title: 'an HTTP/1.0 answer',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('GET /old'))
      const served = await stage.request()
      await served.send(`${head('HTTP/1.0 200 OK', 'Content-Type: text/plain')}old`)
      served.wire.end()
      served.done()
      await client.answered()
    },
  },
  {
    title: 'an answer that breaks off before its Content-Length',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('POST /cut', 'Content-Length: 0'))
      const served = await stage.request()
      await served.send(`${answerHead('200 OK', 'Content-Length: 10')}half`)
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
    title: 'a chunked answer that breaks off before its last chunk',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('GET /cut-chunked'))
      const served = await stage.request()
      await served.send(answerHead('200 OK', 'Transfer-Encoding: chunked') + chunk('half'))
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
    'an empty chunked answer',
    requestHead('GET /empty'),
    answerHead('200 OK', 'Transfer-Encoding: chunked') + LAST_CHUNK,
  ),
  simple(
    'an answer to HEAD with a Content-Length',
    requestHead('HEAD /file'),
    answerHead('200 OK', 'Content-Length: 1234567', 'ETag: "x"'),
  ),
  simple(
    'an answer to HEAD without a Content-Length',
    requestHead('HEAD /file'),
    answerHead('200 OK', 'Content-Type: text/plain'),
  ),
  simple(
    'an answer to HEAD with Transfer-Encoding: chunked',
    requestHead('HEAD /file'),
    answerHead('200 OK', 'Transfer-Encoding: chunked'),
  ),
  simple('a 204 answer', requestHead('DELETE /api/v1/flows/1'), answerHead('204 No Content', 'X-Deleted: 1')),
  simple(
    'a 304 answer with the Content-Length of its entity',
    requestHead('GET /static/a.js', 'If-None-Match: "a"', 'If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT'),
    answerHead('304 Not Modified', 'ETag: "a"', 'Content-Length: 4711', `Date: ${DATE}`),
  ),
  simple(
    'a 206 answer to a request for ranges',
    requestHead('GET /file', 'Range: bytes=0-1,4-5'),
    `${answerHead('206 Partial Content', 'Content-Range: bytes 0-1/6', 'Accept-Ranges: bytes', 'Content-Length: 2')}ab`,
  ),
  simple(
    'a redirect to an absolute URL',
    requestHead('GET /old'),
    answerHead('307 Temporary Redirect', 'Location: http://flows.example/new?a=%2F', 'Content-Length: 0'),
  ),
  simple(
    'an unregistered status code',
    requestHead('GET /'),
    `${answerHead('299 Very Well', 'Content-Length: 1')}x`,
  ),
  simple(
    'a status line without a reason phrase',
    requestHead('GET /'),
    `${head('HTTP/1.1 200 ', 'Content-Length: 1')}x`,
  ),
  simple(
    'a 500 answer with a body',
    requestHead('GET /'),
    `${answerHead('500 Internal Server Error', 'Content-Length: 2')}{}`,
  ),
  simple(
    "LangFlow's own 503 with its Retry-After",
    requestHead('GET /'),
    `${answerHead('503 Service Unavailable', 'Retry-After: 7', 'Content-Length: 2')}{}`,
  ),
  simple(
    "LangFlow's own 421, which is not a refused hop",
    requestHead('GET /'),
    `${answerHead('421 Misdirected Request', 'Content-Length: 2')}{}`,
  ),
  simple(
    'a 401 answer with its challenge',
    requestHead('GET /'),
    answerHead('401 Unauthorized', 'WWW-Authenticate: Bearer realm="x", error="y"', 'Content-Length: 0'),
  ),
  simple(
    'several Set-Cookie headers',
    requestHead('GET /login', 'Cookie: a=1; b="2, 3"; c='),
    answerHead(
      '200 OK',
      'Set-Cookie: access_token_lf=abc; Path=/; HttpOnly; SameSite=lax',
      'Set-Cookie: refresh_token_lf=d,e; Expires=Thu, 01 Jan 2026 00:00:00 GMT',
      'Set-Cookie: empty=',
      'Content-Length: 0',
    ),
  ),
  simple(
    'a compressed answer',
    requestHead('GET /gzip', 'Accept-Encoding: gzip, br;q=0.5, *;q=0'),
    ((body) =>
      answerHead(
        '200 OK',
        'Content-Encoding: gzip',
        'Vary: Accept-Encoding',
        `Content-Length: ${body.length}`,
      ) + body.toString('latin1'))(gzipSync('compressed by LangFlow')),
  ),
  simple(
    'an uncompressed answer to a client that accepts gzip',
    requestHead('GET /plain', 'Accept-Encoding: gzip'),
    `${answerHead('200 OK', 'Content-Type: application/json', 'Content-Length: 2000')}${'a'.repeat(2000)}`,
  ),
  simple(
    'repeated headers of an answer',
    requestHead('GET /'),
    answerHead(
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
    "an answer with LangFlow's own Date",
    requestHead('GET /'),
    answerHead('200 OK', `Date: ${DATE}`, 'Server: uvicorn', 'Content-Length: 0'),
  ),
  simple(
    'a header of 60 KiB in an answer',
    requestHead('GET /'),
    answerHead('200 OK', `X-Big: ${'b'.repeat(60 * 1024)}`, 'Content-Length: 0'),
  ),
  simple(
    'non-ASCII bytes in headers of an answer',
    requestHead('GET /'),
    answerHead(
      '200 OK',
      'X-Name: caf\xe9 \xc3\xa9',
      'Content-Disposition: attachment; filename="\xc3\xa9.json"',
      'Content-Length: 0',
    ),
  ),
  simple(
    'a CORS preflight',
    requestHead(
      'OPTIONS /api/v1/run/x',
      'Origin: https://a.example',
      'Access-Control-Request-Method: POST',
      'Access-Control-Request-Headers: x-api-key',
    ),
    answerHead(
      '200 OK',
      'Access-Control-Allow-Origin: https://a.example',
      'Access-Control-Allow-Credentials: true',
      'Vary: Origin',
      'Content-Length: 0',
    ),
  ),
]

const interimAnswers: Exchange[] = [
  {
    title: 'an upload whose client waits for 100 Continue',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('POST /upload', 'Content-Length: 5', 'Expect: 100-continue'))
      const answer = client.begun()
      // Either the front or the target may send the 100: the front reads a small body before it forwards the request.
      const served = stage.request().then(async (one) => {
        if (one.message.value('expect') !== undefined) await one.send(answerHead('100 Continue'))
        return one
      })
      await stage.informed(100)
      await client.send('later')
      const { message } = await served
      await message.rest()
      await (await served).answer(`${answerHead('200 OK', 'Content-Length: 2')}ok`)
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
  ...PATHS.map((path) => simple(`the path ${path.slice(0, 40)}`, requestHead(`GET ${path}`))),
  ...METHODS.map((method) => simple(`the method ${method}`, requestHead(`${method} /a`))),
  ...['POST', 'PUT', 'PATCH', 'DELETE', 'GET', 'OPTIONS', 'PROPFIND'].map((method) =>
    simple(
      `a ${method} with a body`,
      `${requestHead(`${method} /a`, 'Content-Length: 4', 'Content-Type: x/y')}body`,
    ),
  ),
  simple('a POST without a body', requestHead('POST /a')),
  simple('a POST with Content-Length: 0', requestHead('POST /a', 'Content-Length: 0')),
  simple(
    'a chunked body',
    requestHead('POST /a', 'Transfer-Encoding: chunked') +
      chunk('abc') +
      chunk('d'.repeat(5000)) +
      LAST_CHUNK,
  ),
  simple('an empty chunked body', requestHead('POST /a', 'Transfer-Encoding: chunked') + LAST_CHUNK),
  ...[LARGEST_THAT_IS_KEPT, LARGEST_THAT_IS_KEPT + 1, 1024 * 1024].map((length) =>
    simple(
      `a body of ${length} bytes`,
      requestHead('POST /a', `Content-Length: ${length}`) + 'b'.repeat(length),
    ),
  ),
  simple(
    'a body with every byte value',
    requestHead('POST /a', 'Content-Length: 256') + String.fromCharCode(...Array(256).keys()),
  ),
  simple('a Host with a port', requestHead('GET /', 'Host: Flows.Example:8443')),
  simple('an IPv6 address as Host', requestHead('GET /', 'Host: [2001:db8::1]:80')),
  simple(
    'request and trace ids',
    requestHead(
      'GET /',
      'X-Request-ID: 7b1d',
      'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      'tracestate: a=1,b=2',
    ),
    answerHead('200 OK', 'X-Request-ID: 7b1d', 'Content-Length: 0'),
  ),
  simple(
    'repeated headers of a request',
    requestHead(
      'GET /',
      'X-A: 1',
      'X-B: 1',
      'X-A: 2',
      'Accept: a/b',
      'Accept: c/d',
      'Cookie: a=1',
      'Cookie: b=2',
    ),
  ),
  simple('a header of 60 KiB in a request', requestHead('GET /', `X-Big: ${'b'.repeat(60 * 1024)}`)),
  simple('300 headers', requestHead('GET /', ...Array.from({ length: 300 }, (_, i) => `X-${i}: ${i}`))),
  simple('non-ASCII bytes in headers of a request', requestHead('GET /', 'X-Name: caf\xe9 \xc3\xa9')),
  simple(
    'headers with unusual names and values',
    requestHead(
      'GET /',
      "X!#$%&'*+-.^_`|~9: odd",
      'X-Empty:',
      'X-Blank: \t a \t b \t',
      'x_under: score',
      '__proto__: a',
      'constructor: b',
    ),
  ),
  simple(
    'Authorization and API key headers',
    requestHead('GET /', 'Authorization: Bearer abc', 'x-api-key: sk-1'),
  ),
  simple(
    'forwarding headers that a front does not set',
    requestHead(
      'GET /',
      'Forwarded: for=192.0.2.1;proto=https',
      'X-Forwarded-Port: 443',
      'X-Forwarded-Prefix: /flows',
      'X-Real-IP: 192.0.2.1',
      'Via: 1.1 ingress',
    ),
  ),
  {
    title: 'a body that arrives byte by byte',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('POST /a', 'Transfer-Encoding: chunked') + chunk('a'))
      const served = await stage.request()
      await served.message.read(1)
      for (const byte of 'bcd') {
        await client.send(chunk(byte))
        await served.message.read(1)
      }
      await client.send(LAST_CHUNK)
      await served.message.rest()
      await served.answer(answerHead('200 OK', 'Content-Length: 0'))
      await client.answered()
    },
  },
  {
    title: 'a request head that arrives in pieces',
    async play(stage) {
      const client = await stage.connect()
      for (const piece of requestHead('GET /a', 'X-A: b').match(/.{1,7}/gs) ?? []) await client.send(piece)
      const served = await stage.request()
      await served.answer(answerHead('200 OK', 'Content-Length: 0'))
      await client.answered()
    },
  },
  {
    title: 'an HTTP/1.0 request, whose connection ends after the answer',
    async play(stage) {
      const client = await stage.connect()
      await client.send(head('GET /old HTTP/1.0', 'Host: flows.example'))
      const served = await stage.request()
      await served.send(`${answerHead('200 OK', 'Connection: close')}old`)
      served.wire.end()
      served.done()
      const answer = await client.begun()
      stage.note(answer.framing === 'chunked' ? 'chunked' : 'not chunked')
      await answer.rest()
      stage.note(`${await client.piece()}`)
    },
  },
  {
    title: 'a request with Connection: close, whose connection ends after the answer',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('GET /a', 'Connection: close'))
      const served = await stage.request()
      await served.send(`${answerHead('200 OK', 'Content-Length: 2', 'Connection: close')}ok`)
      served.wire.end()
      served.done()
      await client.answered()
      stage.note(`${await client.piece()}`)
    },
  },
]

const connections: Exchange[] = [
  {
    title: 'twenty requests on one connection',
    async play(stage) {
      const client = await stage.connect()
      for (let i = 0; i < 20; i++) {
        await client.send(`${requestHead(`POST /${i}`, 'Content-Length: 1')}x`)
        const served = await stage.request()
        await served.message.rest()
        await served.answer(answerHead('200 OK', `X-Which: ${i}`, 'Content-Length: 0'))
        await client.answered()
      }
    },
  },
  {
    title: 'the order of answers to pipelined requests',
    async play(stage) {
      const client = await stage.connect()
      const names = ['/one', '/two', '/three', '/four']
      await client.send(names.map((name) => requestHead(`GET ${name}`)).join(''))
      const first = await stage.request()
      await first.send(`${answerHead('200 OK', 'X-Which: /one', 'Content-Length: 4')}ha`)
      const answer = await client.begun()
      await answer.read(2)
      // A front may have forwarded the other requests already, and may get their answers before this one is complete.
      const others: Served[] = []
      const rest = async (served: Served) => {
        others.push(served)
        await served.answer(answerHead('200 OK', `X-Which: ${served.message.target}`, 'Content-Length: 0'))
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
        ['a', 'b', 'c'].map((body) => `${requestHead(`POST /${body}`, 'Content-Length: 1')}${body}`).join(''),
      )
      for (let i = 0; i < 3; i++) {
        const served = await stage.request()
        await served.message.rest()
        await served.answer(answerHead('200 OK', `X-Which: ${served.message.target}`, 'Content-Length: 0'))
      }
      for (let i = 0; i < 3; i++) await client.answered()
    },
  },
  {
    title: 'answers of a target that closes each connection, with and without Connection: close',
    async play(stage) {
      for (const closes of [['Connection: close'], [], ['Connection: close'], []]) {
        const client = await stage.connect()
        await client.send(requestHead('POST /once', 'Content-Length: 0'))
        const served = await stage.request()
        await served.send(answerHead('200 OK', ...closes, 'Content-Length: 0'))
        served.wire.end()
        served.done()
        await client.answered()
      }
    },
  },
]

const aborts: Exchange[] = [
  {
    title: 'a client that resets its connection before the answer',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('POST /wait', 'Content-Length: 0'))
      const served = await stage.request()
      client.destroy()
      stage.note(await ends(served))
    },
  },
  {
    title: 'a client that resets its connection within an answer',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('GET /stream'))
      const served = await stage.request()
      await served.send(answerHead('200 OK', ...EVENTS) + chunk('data: 1\n\n'))
      const answer = await client.begun()
      await answer.read(9)
      client.destroy()
      stage.note(await ends(served))
    },
  },
  {
    title: 'a client that closes its connection within an answer',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('GET /stream'))
      const served = await stage.request()
      await served.send(answerHead('200 OK', ...EVENTS) + chunk('data: 1\n\n'))
      const answer = await client.begun()
      await answer.read(9)
      client.socket.destroy()
      stage.note(await ends(served))
    },
  },
  ...['Content-Length: 1000000', 'Transfer-Encoding: chunked'].map((framing) => ({
    title: `a client that resets its connection within its body (${framing})`,
    async play(stage: Stage) {
      const client = await stage.connect()
      await client.send(
        requestHead('POST /upload', framing) + (framing.includes('chunked') ? chunk('abcd') : 'abcd'),
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
    title: 'an answer that ends before its request',
    async play(stage) {
      const client = await stage.connect()
      await client.send(`${requestHead('POST /upload', 'Content-Length: 1000000')}abcd`)
      const served = await stage.request()
      await served.message.read(4)
      await served.send(
        `${answerHead('413 Content Too Large', 'Content-Length: 5', 'Connection: close')}large`,
      )
      served.wire.end()
      served.done()
      await client.answered()
    },
  },
  {
    title: 'an answer that streams while its request still streams',
    async play(stage) {
      const client = await stage.connect()
      await client.send(requestHead('POST /both', 'Transfer-Encoding: chunked') + chunk('a'))
      const served = await stage.request()
      await served.message.read(1)
      await served.send(answerHead('200 OK', 'Transfer-Encoding: chunked') + chunk('A'))
      const answer = await client.begun()
      await answer.read(1)
      await client.send(chunk('b') + LAST_CHUNK)
      await served.message.rest()
      await served.answer(chunk('B') + LAST_CHUNK)
      await answer.rest()
    },
  },
]

/** Waits for the end of the target's connection, which shows that the client is gone. */
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
  return requestHead(
    `GET ${path}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${KEY}`,
    ...headers,
  )
}

/** Opens a websocket to the target. */
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
    answerHead(
      '101 Switching Protocols',
      'Upgrade: websocket',
      'Connection: Upgrade',
      accept,
      ...agreed(served),
    ),
  )
  const answer = await client.begun()
  stage.note(answer.value('sec-websocket-accept') === acceptOf(KEY) ? 'accepted' : 'not accepted')
  return { client, served }
}

/** The target reads a close frame and ends the connection, as servers do. `first`: the target has already sent its own. */
async function hangsUp({ served }: Socket, first: boolean): Promise<string> {
  const close = await readWhole(served.wire)
  if (!first) await served.send(frame(CLOSE, close.payload, { masked: false }))
  served.wire.end()
  served.done()
  return describeFrame(close)
}

/** The client reads a close frame, then the end of the connection. */
async function readsClose(client: Client, answers: boolean): Promise<string> {
  const close = await readWhole(client)
  if (answers) await client.send(frame(CLOSE, close.payload, MASKED))
  return `${describeFrame(close)}, then ${(await client.rest()).length} bytes`
}

type Socket = Awaited<ReturnType<typeof websocket>>

/** Sends a message to the target and back, and notes how it arrives on each side. */
async function echo(stage: Stage, { client, served }: Socket, message: Buffer): Promise<void> {
  const [there] = await Promise.all([readWhole(served.wire), client.send(message)])
  const answer = frame(there.opcode, there.payload, { masked: false })
  const [back] = await Promise.all([readWhole(client), served.send(answer)])
  stage.note(
    `${describeFrame(there)}, ${there.masked ? 'masked' : 'plain'} there, ${back.masked ? 'masked' : 'plain'} back: ${describeFrame(back)}`,
  )
}

const websockets: Exchange[] = [
  {
    title: 'text, binary, empty and large websocket messages',
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
    title: "the target's choice of a websocket subprotocol",
    async play(stage) {
      const asked = ['Sec-WebSocket-Protocol: a, b', 'Sec-WebSocket-Protocol: c']
      const socket = await websocket(stage, asked, () => ['Sec-WebSocket-Protocol: b', 'X-More: 1'])
      await echo(stage, socket, frame(TEXT, 'in b', MASKED))
    },
  },
  {
    title: 'compressed websocket messages',
    async play(stage) {
      const asked = ['Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits']
      const agreed = ['Sec-WebSocket-Extensions: permessage-deflate']
      const { client, served } = await websocket(stage, asked, () => agreed)
      await client.send(COMPRESSED)
      stage.note((await readWhole(served.wire)).payload.equals(HELLO) ? 'compressed' : 'changed')
    },
  },
  {
    title: 'websockets that the target or the client closes',
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
    title: 'a websocket whose client resets its connection',
    async play(stage) {
      const { client, served } = await websocket(stage)
      client.destroy()
      stage.note(await ends(served))
    },
  },
  {
    title: 'a websocket whose target resets its connection',
    async play(stage) {
      const { client, served } = await websocket(stage)
      served.wire.destroy()
      served.done()
      stage.note(`${(await client.rest()).length} bytes more`)
    },
  },
  {
    title: 'a websocket message that the target sends together with its 101',
    async play(stage) {
      const client = await stage.connect()
      await client.send(upgrade('/ws'))
      const served = await stage.request()
      const accept = `Sec-WebSocket-Accept: ${acceptOf(served.message.value('sec-websocket-key') ?? '')}`
      const switched = answerHead(
        '101 Switching Protocols',
        'Upgrade: websocket',
        'Connection: Upgrade',
        accept,
      )
      await served.send(Buffer.concat([Buffer.from(switched), frame(TEXT, 'welcome', { masked: false })]))
      await client.begun()
      stage.note(describeFrame(await readWhole(client)))
    },
  },
  {
    title: 'a handshake that the target refuses',
    async play(stage) {
      const client = await stage.connect()
      await client.send(upgrade('/ws'))
      const served = await stage.request()
      await served.send(
        `${answerHead('403 Forbidden', 'X-Why: no', 'Content-Length: 2', 'Connection: close')}no`,
      )
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
      "an MCP session over streamable HTTP: answers as JSON and as events, the server's stream beside them, the session's end",
    async play(stage) {
      const client = await stage.connect()
      const path = '/api/v1/mcp/project/1/streamable'
      const accepts = 'Accept: application/json, text/event-stream'
      const posted = (body: string, ...headers: string[]) =>
        requestHead(
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
        `${answerHead('200 OK', 'Content-Type: application/json', 'Mcp-Session-Id: 7', 'Content-Length: 2')}{}`,
      )
      await client.answered()

      const listening = await stage.connect()
      await listening.send(
        requestHead(
          `GET ${path}`,
          'Accept: text/event-stream',
          'Mcp-Session-Id: 7',
          'MCP-Protocol-Version: 2025-06-18',
        ),
      )
      const stream = await stage.request()
      await stream.send(answerHead('200 OK', ...EVENTS, 'Mcp-Session-Id: 7'))
      const events = await listening.begun()

      await client.send(posted('{"method":"tools/call"}', 'Mcp-Session-Id: 7'))
      const called = await stage.request()
      await called.message.rest()
      await called.send(answerHead('200 OK', ...EVENTS))
      await stream.send(chunk('event: message\ndata: {"method":"notifications/progress"}\n\n'))
      await events.read(20)
      await oneByOne(called, await client.begun(), ['event: message\ndata: {"result":{}}\n\n'])

      await client.send(posted('{"method":"notifications/initialized"}', 'Mcp-Session-Id: 7'))
      const notified = await stage.request()
      await notified.message.rest()
      await notified.answer(answerHead('202 Accepted', 'Content-Length: 0'))
      await client.answered()

      await client.send(requestHead(`DELETE ${path}`, 'Mcp-Session-Id: 7'))
      await (await stage.request()).answer(answerHead('200 OK', 'Content-Length: 0'))
      await client.answered()
      await stream.answer(LAST_CHUNK)
      await events.rest()
    },
  },
  {
    title: 'an MCP session over SSE, which answers posted messages in the stream',
    async play(stage) {
      const listening = await stage.connect()
      await listening.send(
        requestHead('GET /api/v1/mcp/sse', 'Accept: text/event-stream', 'Cache-Control: no-store'),
      )
      const stream = await stage.request()
      await stream.send(answerHead('200 OK', ...EVENTS))
      const events = await listening.begun()
      const endpoint = 'event: endpoint\r\ndata: /api/v1/mcp/?session_id=0f\r\n\r\n'
      await stream.send(chunk(endpoint))
      await events.read(endpoint.length)
      const client = await stage.connect()
      const start = 'POST /api/v1/mcp/?session_id=0f'
      await client.send(
        requestHead(start, 'Content-Type: application/json', `Content-Length: ${JSON_RPC.length}`) + JSON_RPC,
      )
      const posted = await stage.request()
      await posted.message.rest()
      await posted.answer(`${answerHead('202 Accepted', 'Content-Length: 8')}Accepted`)
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
  ...interimAnswers,
  ...requests,
  ...connections,
  ...aborts,
  ...websockets,
  ...mcp,
]

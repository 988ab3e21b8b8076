import { createHash } from 'node:crypto'
import type { Served } from './scripted-target.ts'
import { answerHead, type Client, DATE, requestHead, type Stage } from './stage.ts'
import { chunk, head, type Message } from './wire.ts'

/** An exchange between a client and LangFlow, whose transcript must be the same with and without fronts. */
export type Exchange = readonly [title: string, play: (stage: Stage) => Promise<void>]

type Plays = Readonly<Record<string, Exchange[1]>>

type Row = readonly [title: string, request: string, answer?: string]

const OK = `${answerHead('200 OK', 'Content-Length: 2')}ok`
const EMPTY = 'Content-Length: 0'
const CHUNKED = 'Transfer-Encoding: chunked'
const LAST_CHUNK = '0\r\n\r\n'
const GET = requestHead('GET /')
const EVENTS = ['Content-Type: text/event-stream; charset=utf-8', 'Cache-Control: no-cache', CHUNKED]

const get = (...headers: string[]) => requestHead('GET /', ...headers)
const post = (body: string, ...headers: string[]) => requestHead('POST /a', ...headers) + body
const answer = (status: string, ...headers: string[]) => answerHead(status, ...headers, EMPTY)

const PATHS = [
  '/?',
  '//a.example/b',
  '/a/./b/../c',
  '/a?b?c=/d&&e=%20+%zz&=&f',
  '/%',
  '/!$&\'()*,[]|^`{}"<>\\',
  `/${'long/'.repeat(1500)}?q=${'x'.repeat(500)}`,
]

const ROWS: readonly Row[] = [
  ...PATHS.map((path): Row => [`the path ${path.slice(0, 40)}`, requestHead(`GET ${path}`)]),
  ...['PUT', 'OPTIONS', 'PROPFIND', 'M-SEARCH'].map(
    (method): Row => [`the method ${method}`, requestHead(`${method} /a`)],
  ),
  ...['POST', 'DELETE', 'GET'].map(
    (method): Row => [
      `a ${method} with a body`,
      `${requestHead(`${method} /a`, 'Content-Length: 4', 'Content-Type: x/y')}body`,
    ],
  ),
  ['a POST without a body', post('')],
  ['a POST with Content-Length: 0', post('', EMPTY)],
  ['a chunked body', post(chunk('abc') + chunk('d'.repeat(5000)) + LAST_CHUNK, CHUNKED)],
  ['an empty chunked body', post(LAST_CHUNK, CHUNKED)],
  ['a body of a megabyte', post('b'.repeat(1024 * 1024), `Content-Length: ${1024 * 1024}`)],
  ['a body with every byte value', post(String.fromCharCode(...Array(256).keys()), 'Content-Length: 256')],
  ['repeated headers of a request', get('X-A: 1', 'X-B: 1', 'X-A: 2', 'Cookie: a=1', 'Cookie: b=2')],
  ['a header of 15 KiB in a request', get(`X-Big: ${'b'.repeat(15 * 1024)}`)],
  ['300 headers', get(...Array.from({ length: 300 }, (_, i) => `X-${i}: ${i}`))],
  ['non-ASCII bytes in headers of a request', get('X-Name: caf\xe9 \xc3\xa9')],
  ['unusual headers', get("X!#$%&'*+-.^_`|~9: odd", 'X-Empty:', 'x_under: score', '__proto__: a')],
  ['an empty chunked answer', GET, answerHead('200 OK', CHUNKED) + LAST_CHUNK],
  [
    'an answer to HEAD with a Content-Length',
    requestHead('HEAD /'),
    answerHead('200 OK', 'Content-Length: 9'),
  ],
  ['an answer to HEAD without one', requestHead('HEAD /'), answerHead('200 OK', 'Content-Type: text/plain')],
  ['an answer to HEAD that is chunked', requestHead('HEAD /'), answerHead('200 OK', CHUNKED)],
  ['a 204 answer', requestHead('DELETE /a'), answerHead('204 No Content', 'X-Deleted: 1')],
  [
    'a 304 answer with the Content-Length of its entity',
    get('If-None-Match: "a"'),
    answerHead('304 Not Modified', 'ETag: "a"', 'Content-Length: 4711', `Date: ${DATE}`),
  ],
  ['a status line without a reason phrase', GET, head('HTTP/1.1 200 ', EMPTY)],
  ["LangFlow's own 503 with its Retry-After", GET, answer('503 Service Unavailable', 'Retry-After: 7')],
  ["LangFlow's own 421, which is not a refused hop", GET, answer('421 Misdirected Request')],
  [
    'repeated headers of an answer',
    GET,
    answer('200 OK', 'X-A: 1', 'X-B: 1', 'X-A: 2', 'Link: </a>', 'Link: </b>'),
  ],
  ["an answer with LangFlow's own Date", GET, answer('200 OK', `Date: ${DATE}`, 'Server: uvicorn')],
  ['a header of 60 KiB in an answer', GET, answer('200 OK', `X-Big: ${'b'.repeat(60 * 1024)}`)],
  ['non-ASCII bytes in headers of an answer', GET, answer('200 OK', 'X-Name: caf\xe9 \xc3\xa9')],
]

async function playRow(stage: Stage, request: string, answer = OK): Promise<void> {
  const client = await stage.connect()
  await client.send(request)
  const served = await stage.request()
  await served.message.rest()
  await served.answer(answer)
  await client.answered(request.slice(0, request.indexOf(' ')))
}

async function begin(stage: Stage, request: string): Promise<{ client: Client; served: Served }> {
  const client = await stage.connect()
  await client.send(request)
  return { client, served: await stage.request() }
}

/** Sends each part only after the client has read the previous one, which proves that fronts don't buffer. */
async function oneByOne(served: Served, answer: Message, parts: readonly string[]): Promise<void> {
  for (const part of parts) {
    await served.send(chunk(part))
    await answer.read(part.length)
  }
  await served.answer(LAST_CHUNK)
  await answer.rest()
}

async function hangUp(served: Served, answer: string): Promise<void> {
  await served.send(answer)
  served.wire.end()
  served.done()
}

/** Waits for the end of the target's connection, which shows that the client is gone. */
async function ends(served: Served): Promise<string> {
  const rest = await served.wire.rest()
  served.done()
  return `${rest.length} bytes more, then the end`
}

const wholeOrCut = (message: Message) =>
  message.rest().then(
    () => 'whole',
    () => 'cut',
  )

const MESSAGES: Plays = {
  'an SSE stream with comments, ids and multi-line data': async (stage) => {
    const { client, served } = await begin(stage, get('Accept: text/event-stream', 'Last-Event-ID: 41'))
    await served.send(answerHead('200 OK', ...EVENTS, 'X-Accel-Buffering: no'))
    const events = [': ping\n\n', 'id: 42\nevent: token\ndata: a\ndata: b\n\n', 'data: [DONE]\n\n']
    await oneByOne(served, await client.begun(), events)
  },
  'an answer that ends with its connection': async (stage) => {
    const { client, served } = await begin(stage, GET)
    await hangUp(served, `${head('HTTP/1.0 200 OK', 'Content-Type: text/plain')}old`)
    await client.answered()
  },
  'an HTTP/1.0 request, whose connection ends after the answer': async (stage) => {
    const { client, served } = await begin(stage, head('GET /old HTTP/1.0', 'Host: flows.example'))
    await hangUp(served, `${answerHead('200 OK', 'Connection: close')}old`)
    const answer = await client.begun()
    stage.note(answer.framing === 'chunked' ? 'chunked' : 'not chunked')
    await answer.rest()
    stage.note(`${await client.piece()}`)
  },
  'twenty requests on one connection': async (stage) => {
    const client = await stage.connect()
    for (let i = 0; i < 20; i++) {
      await client.send(post('x', 'Content-Length: 1'))
      const served = await stage.request()
      await served.message.rest()
      await served.answer(answer('200 OK', `X-Which: ${i}`))
      await client.answered()
    }
  },
  'answers of a target that closes each connection, with and without Connection: close': async (stage) => {
    for (const closes of [['Connection: close'], [], ['Connection: close'], []]) {
      const { client, served } = await begin(stage, post('', EMPTY))
      await hangUp(served, answer('200 OK', ...closes))
      await client.answered()
    }
  },
  'a client that resets its connection before the answer': async (stage) => {
    const { client, served } = await begin(stage, post('', EMPTY))
    client.destroy()
    stage.note(await ends(served))
  },
  'a client that closes its connection within an answer': async (stage) => {
    const { client, served } = await begin(stage, GET)
    await served.send(answerHead('200 OK', ...EVENTS) + chunk('data: 1\n\n'))
    await (await client.begun()).read(9)
    client.socket.destroy()
    stage.note(await ends(served))
  },
  'an answer that ends before its request': async (stage) => {
    const { client, served } = await begin(stage, post('abcd', 'Content-Length: 1000000'))
    await served.message.read(4)
    const refusal = answerHead('413 Content Too Large', 'Content-Length: 5', 'Connection: close')
    await hangUp(served, `${refusal}large`)
    await client.answered()
  },
  'an answer that streams while its request still streams': async (stage) => {
    const { client, served } = await begin(stage, post(chunk('a'), CHUNKED))
    await served.message.read(1)
    await served.send(answerHead('200 OK', CHUNKED) + chunk('A'))
    const answer = await client.begun()
    await answer.read(1)
    await client.send(chunk('b') + LAST_CHUNK)
    await served.message.rest()
    await served.answer(chunk('B') + LAST_CHUNK)
    await answer.rest()
  },
}

const BROKEN: readonly Exchange[] = [
  ...[
    [`${answerHead('200 OK', 'Content-Length: 10')}half`, 'its Content-Length'],
    [answerHead('200 OK', CHUNKED) + chunk('half'), 'its last chunk'],
  ].map(
    ([half = '', what]): Exchange => [
      `an answer that breaks off before ${what}`,
      async (stage) => {
        const { client, served } = await begin(stage, post('', EMPTY))
        await served.send(half)
        const answer = await client.begun()
        await answer.read(4)
        served.wire.destroy()
        served.done()
        stage.note(await wholeOrCut(answer))
      },
    ],
  ),
  ...['Content-Length: 1000000', CHUNKED].map(
    (framing): Exchange => [
      `a client that resets its connection within its body (${framing})`,
      async (stage) => {
        const { client, served } = await begin(
          stage,
          post(framing === CHUNKED ? chunk('abcd') : 'abcd', framing),
        )
        await served.message.read(4)
        client.destroy()
        stage.note(await wholeOrCut(served.message))
      },
    ],
  ),
]

const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='

export function upgrade(path: string, ...headers: string[]): string {
  return requestHead(
    `GET ${path}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${KEY}`,
    ...headers,
  )
}

function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
}

export function accepted({ message }: Pick<Served, 'message'>, ...headers: string[]): string {
  const accept = `Sec-WebSocket-Accept: ${acceptOf(message.value('sec-websocket-key') ?? '')}`
  const switched = ['Upgrade: websocket', 'Connection: Upgrade', accept]
  return answerHead('101 Switching Protocols', ...switched, ...headers)
}

async function websocket(stage: Stage, requested: string[] = [], agreed: string[] = []) {
  const { client, served } = await begin(stage, upgrade('/api/v1/ws?x=%2F', ...requested))
  await served.send(accepted(served, ...agreed))
  const answer = await client.begun()
  stage.note(answer.value('sec-websocket-accept') === acceptOf(KEY) ? 'accepted' : 'not accepted')
  return { client, served }
}

/** The front reads no frames, so these bytes need not be valid ones. */
async function echo(stage: Stage, client: Client, served: Served, bytes: Buffer): Promise<void> {
  const [there] = await Promise.all([served.wire.bytes(bytes.length), client.send(bytes)])
  const [back] = await Promise.all([client.bytes(bytes.length), served.send(there)])
  stage.note(back.equals(bytes) ? 'the same bytes' : 'other bytes')
}

const WEBSOCKETS: Plays = {
  'every byte value, and many bytes, through a websocket': async (stage) => {
    const { client, served } = await websocket(stage, ['Origin: https://a.example', 'Cookie: a=1'])
    await echo(stage, client, served, Buffer.from([...Array(256).keys()]))
    await echo(stage, client, served, Buffer.alloc(300_000, 7))
  },
  "the target's choice of a websocket subprotocol": async (stage) => {
    const requested = ['Sec-WebSocket-Protocol: a, b', 'Sec-WebSocket-Protocol: c']
    await websocket(stage, requested, ['Sec-WebSocket-Protocol: b', 'X-More: 1'])
  },
  'a websocket that the target closes': async (stage) => {
    const { client, served } = await websocket(stage)
    await served.send('the last bytes')
    served.wire.end()
    served.done()
    stage.note(`${await client.rest()}`)
  },
  'a websocket whose client resets its connection': async (stage) => {
    const { client, served } = await websocket(stage)
    client.destroy()
    stage.note(await ends(served))
  },
  'bytes that the target sends together with its 101': async (stage) => {
    const { client, served } = await begin(stage, upgrade('/ws'))
    await served.send(`${accepted(served)}welcome`)
    await client.begun()
    stage.note(`${await client.bytes(7)}`)
  },
  'a handshake that the target refuses': async (stage) => {
    const { client, served } = await begin(stage, upgrade('/ws'))
    await hangUp(served, `${answerHead('403 Forbidden', 'X-Why: no', 'Content-Length: 2')}no`)
    await client.answered()
  },
}

export const EXCHANGES: readonly Exchange[] = [
  ...ROWS.map(([title, request, answer]): Exchange => [title, (stage) => playRow(stage, request, answer)]),
  ...Object.entries(MESSAGES),
  ...BROKEN,
  ...Object.entries(WEBSOCKETS),
]

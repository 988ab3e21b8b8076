import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import fc from 'fast-check'
import { ApiError } from '../../agent/kube/errors.ts'
import { LineReader } from '../../agent/kube/watch-stream.ts'
import type { LeaseApi, OpenWatch, WatchEvent } from '../../agent/lease/lease-api.ts'
import {
  apiFor,
  fixedAccess,
  leaseAt,
  reply,
  ScriptedServer,
  status,
  within,
} from './fixtures/scripted-server.ts'

const LATER_MS = 5_000

/** What one watch delivered until it ended. */
class Recorder {
  readonly events: WatchEvent[] = []
  readonly ended: Promise<ApiError | undefined>
  endings = 0
  watch: OpenWatch | undefined
  private finish: (error: ApiError | undefined) => void = () => {}
  private arrived: () => void = () => {}

  constructor() {
    const { promise, resolve } = Promise.withResolvers<ApiError | undefined>()
    this.ended = promise
    this.finish = resolve
  }

  async open(api: LeaseApi, resourceVersion?: string, deadlineMs = LATER_MS): Promise<this> {
    this.watch = await api.watch(
      resourceVersion,
      {
        event: (event) => {
          this.events.push(event)
          this.arrived()
        },
        ended: (error) => {
          this.endings++
          this.finish(error)
        },
      },
      deadlineMs,
    )
    return this
  }

  async received(count: number): Promise<WatchEvent[]> {
    while (this.events.length < count) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.arrived = resolve
      await within(promise)
    }
    return this.events
  }
}

const line = (type: string, object: object) => `${JSON.stringify({ type, object })}\n`

test('the watch is on the one object, with bookmarks, and for 5 to 10 minutes', async () => {
  await using server = await ScriptedServer.start((_, response) => response.writeHead(200).end())
  using api = apiFor(fixedAccess(server.url))
  await within((await new Recorder().open(api, '41')).ended)
  await within((await new Recorder().open(api)).ended)
  const [first, second] = server.requests.map(({ url }) => url)
  assert.equal(first?.pathname, '/apis/coordination.k8s.io/v1/namespaces/ns/leases')
  const { timeoutSeconds, ...query } = Object.fromEntries(first?.searchParams ?? [])
  assert.deepEqual(query, {
    watch: '1',
    fieldSelector: 'metadata.name=lock',
    allowWatchBookmarks: 'true',
    resourceVersion: '41',
  })
  assert.ok(Number(timeoutSeconds) >= 300 && Number(timeoutSeconds) <= 600, timeoutSeconds)
  assert.equal(second?.searchParams.has('resourceVersion'), false)
})

test('events arrive as they are sent, and an orderly end is no error', async () => {
  await using server = await ScriptedServer.start((_, response) => {
    response.write(line('ADDED', leaseAt('1')))
    response.write(line('MODIFIED', leaseAt('2')) + line('BOOKMARK', { metadata: { resourceVersion: '5' } }))
    response.end(line('DELETED', leaseAt('6')))
  })
  using api = apiFor(fixedAccess(server.url))
  const recorder = await new Recorder().open(api)
  assert.equal(await within(recorder.ended), undefined)
  assert.deepEqual(recorder.events, [
    { type: 'changed', lease: leaseAt('1') },
    { type: 'changed', lease: leaseAt('2') },
    { type: 'bookmark', resourceVersion: '5' },
    { type: 'deleted', resourceVersion: '6' },
  ])
})

const ENDINGS: [name: string, text: string, code: string, message: RegExp][] = [
  ['ERROR with code 410', line('ERROR', status(410, 'Expired')), 'gone', /too old/],
  ['ERROR with code 500', line('ERROR', status(500, 'InternalError', 'boom')), 'server', /boom/],
  ['ERROR with nothing', line('ERROR', {}), 'network', /no event/],
  ['garbage', 'x{}\n', 'network', /no event/],
  ['an unknown type', line('RENAMED', leaseAt('2')), 'network', /no event/],
  ['an object without metadata', line('ADDED', {}), 'network', /no event/],
  ['a null', 'null\n', 'network', /no event/],
  [
    'a line that stops in the middle',
    line('MODIFIED', leaseAt('2')).slice(0, 40),
    'network',
    /middle of an event/,
  ],
  ['a line of 5 MiB', 'x'.repeat(5 * 1024 * 1024), 'network', /no event/],
]
for (const [name, text, code, message] of ENDINGS) {
  test(`${name} ends the watch with ${code}, after the events before it`, async () => {
    await using server = await ScriptedServer.start((_, response) => {
      response.end(line('ADDED', leaseAt('1')) + text)
    })
    using api = apiFor(fixedAccess(server.url))
    const recorder = await new Recorder().open(api)
    const error = await within(recorder.ended)
    assert.equal(error?.code, code)
    assert.match(error?.message ?? '', message)
    assert.equal(error?.mayHaveCommitted, false)
    assert.deepEqual(recorder.events, [{ type: 'changed', lease: leaseAt('1') }])
    assert.equal(recorder.endings, 1)
  })
}

test('a cut connection ends the watch with an error', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    response.write(line('ADDED', leaseAt('1'))),
  )
  using api = apiFor(fixedAccess(server.url))
  const recorder = await new Recorder().open(api)
  await recorder.received(1)
  server.reset()
  assert.equal((await within(recorder.ended))?.code, 'network')
})

test('an open watch outlives its deadline, and requests go over another connection meanwhile', async () => {
  let stream: ServerResponse | undefined
  await using server = await ScriptedServer.start((request, response) => {
    if (!request.url.searchParams.has('watch')) return reply(response, 200, leaseAt('1'))
    stream = response
    response.writeHead(200).flushHeaders()
  })
  using api = apiFor(fixedAccess(server.url))
  const recorder = await new Recorder().open(api, '1', 100)
  // Passes 100 ms with real requests, which also time out where the watch holds them up.
  const start = performance.now()
  while (performance.now() - start < 150) await api.update(leaseAt('1'), LATER_MS)
  stream?.write(line('MODIFIED', leaseAt('2')))
  await recorder.received(1)
  assert.equal(server.connections, 2)
})

test('a watch that is refused, hangs, or answers nonsense rejects', async () => {
  await using server = await ScriptedServer.start((_, response) => reply(response, 410, status(410, 'Gone')))
  const seen: string[] = []
  using api = apiFor(fixedAccess(server.url), { onRequest: (verb, code) => seen.push(`${verb} ${code}`) })
  const refused = (code: string) => (error: unknown) => error instanceof ApiError && error.code === code
  await assert.rejects(new Recorder().open(api), refused('gone'))
  server.script = (_, response) => reply(response, 204, '')
  await assert.rejects(new Recorder().open(api), refused('network'))
  server.script = () => {}
  await assert.rejects(new Recorder().open(api, undefined, 100), refused('timeout'))
  assert.deepEqual(seen, ['watch 410', 'watch 204', 'watch timeout'])
})

test('a watch is opened again with fresh credentials after a 401', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    server.requests.length === 1
      ? reply(response, 401, status(401, 'Unauthorized'))
      : response.writeHead(200).end(),
  )
  const access = fixedAccess(server.url)
  using api = apiFor(access)
  assert.equal(await within((await new Recorder().open(api)).ended), undefined)
  assert.equal(access.reloads, 1)
})

test('after close nothing is delivered and the socket is gone', async () => {
  let stream: ServerResponse | undefined
  await using server = await ScriptedServer.start((_, response) => {
    stream = response
    response.write(line('ADDED', leaseAt('1')))
  })
  using api = apiFor(fixedAccess(server.url))
  const recorder = await new Recorder().open(api)
  await recorder.received(1)
  const closed = new Promise((resolve) => stream?.once('close', resolve))
  recorder.watch?.close()
  stream?.write(line('MODIFIED', leaseAt('2')))
  await within(closed)
  assert.equal(recorder.events.length, 1)
  assert.equal(recorder.endings, 0)
})

test('lines are the same however the bytes are cut', () => {
  const text = fc.array(fc.string({ unit: 'grapheme', maxLength: 30 }), { maxLength: 12 })
  fc.assert(
    fc.property(text, fc.array(fc.nat(400), { maxLength: 30 }), (words, cuts) => {
      const expected = words.map((word) => word.replaceAll('\n', ' '))
      const bytes = Buffer.from(expected.map((word) => `${word}\n`).join(''))
      const reader = new LineReader()
      const ends = [...new Set(cuts.map((cut) => Math.min(cut, bytes.length)))].sort((a, b) => a - b)
      const pieces = [...ends, bytes.length].map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end))
      assert.deepEqual(
        pieces.flatMap((piece) => reader.push(piece) ?? []),
        expected,
      )
      assert.equal(reader.complete, true)
    }),
  )
})

test('a line without end is given up at 4 MiB', () => {
  const reader = new LineReader()
  const mebibyte = Buffer.alloc(1024 * 1024, 'x')
  for (let i = 0; i < 4; i++) assert.deepEqual(reader.push(mebibyte), [])
  assert.equal(reader.push(mebibyte), null)
})

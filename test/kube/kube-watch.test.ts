import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import type { ApiError } from '../../agent/kube/kube-errors.ts'
import type { KubeObjects, ObjectEvent, ObjectWatch } from '../../agent/kube/kube-objects.ts'
import { LEASE } from '../../agent/lease/lease-api.ts'
import {
  failure,
  fixedAccess,
  leaseAt,
  objectsFor,
  reply,
  ScriptedServer,
  status,
  within,
} from './scripted-server.ts'

const LATER_MS = 5_000

/** The events and the end of one watch. */
class Recorder {
  readonly events: ObjectEvent[] = []
  readonly ended = Promise.withResolvers<ApiError | undefined>()
  endings = 0
  watch: ObjectWatch | undefined
  private arrived = Promise.withResolvers<void>()

  async open(objects: KubeObjects, resourceVersion?: string, deadlineMs = LATER_MS): Promise<this> {
    const handlers = {
      event: (event: ObjectEvent) => {
        this.events.push(event)
        this.arrived.resolve()
      },
      ended: (error?: ApiError) => {
        this.endings++
        this.ended.resolve(error)
      },
    }
    this.watch = await objects.watch(LEASE, 'lock', resourceVersion, handlers, deadlineMs)
    return this
  }

  /** Resolves at the first event. */
  first(): Promise<void> {
    return within(this.arrived.promise)
  }

  end(): Promise<ApiError | undefined> {
    return within(this.ended.promise)
  }
}

const line = (type: string, object: object) => `${JSON.stringify({ type, object })}\n`

test('the watch requests one object, with bookmarks, for 5 to 10 minutes', async () => {
  await using server = await ScriptedServer.start((_, response) => response.writeHead(200).end())
  using objects = objectsFor(fixedAccess(server.url))
  await (await new Recorder().open(objects, '41')).end()
  await (await new Recorder().open(objects)).end()
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

test('events arrive in order, and a regular end is not an error', async () => {
  await using server = await ScriptedServer.start((_, response) => {
    response.write(line('ADDED', leaseAt('1')))
    response.write(line('MODIFIED', leaseAt('2')) + line('BOOKMARK', { metadata: { resourceVersion: '5' } }))
    response.end(line('DELETED', leaseAt('6')))
  })
  using objects = objectsFor(fixedAccess(server.url))
  const recorder = await new Recorder().open(objects)
  assert.equal(await recorder.end(), undefined)
  assert.deepEqual(recorder.events, [
    { type: 'changed', object: leaseAt('1') },
    { type: 'changed', object: leaseAt('2') },
    { type: 'bookmark', resourceVersion: '5' },
    { type: 'deleted', resourceVersion: '6' },
  ])
})

const ENDINGS: [name: string, text: string, code: string][] = [
  ['ERROR with code 410', line('ERROR', status(410, 'Expired')), 'gone'],
  ['ERROR with code 500', line('ERROR', status(500, 'InternalError', 'boom')), 'server'],
  ['ERROR without a status', line('ERROR', {}), 'network'],
  ['garbage', 'x{}\n', 'network'],
  ['an unknown type', line('RENAMED', leaseAt('2')), 'network'],
  ['an object without metadata', line('ADDED', {}), 'network'],
  ['a null', 'null\n', 'network'],
  ['half a line', line('MODIFIED', leaseAt('2')).slice(0, 40), 'network'],
  ['a line of 5 MiB', 'x'.repeat(5 * 1024 * 1024), 'network'],
]
test('a watch ends with an error, after the events before it', async () => {
  for (const [name, text, code] of ENDINGS) {
    await using server = await ScriptedServer.start((_, response) => {
      response.end(line('ADDED', leaseAt('1')) + text)
    })
    using objects = objectsFor(fixedAccess(server.url))
    const recorder = await new Recorder().open(objects)
    const error = await recorder.end()
    assert.deepEqual([error?.code, recorder.endings], [code, 1], name)
    assert.deepEqual(recorder.events, [{ type: 'changed', object: leaseAt('1') }])
  }
})

test('a cut connection ends the watch with an error', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    response.write(line('ADDED', leaseAt('1'))),
  )
  using objects = objectsFor(fixedAccess(server.url))
  const recorder = await new Recorder().open(objects)
  await recorder.first()
  server.reset()
  assert.equal((await recorder.end())?.code, 'network')
})

test('an open watch outlives its deadline, and requests use another connection', async () => {
  let stream: ServerResponse | undefined
  await using server = await ScriptedServer.start((request, response) => {
    if (!request.url.searchParams.has('watch')) return reply(response, 200, leaseAt('1'))
    stream = response
    response.writeHead(200).flushHeaders()
  })
  using objects = objectsFor(fixedAccess(server.url))
  const recorder = await new Recorder().open(objects, '1', 100)
  // Requests fill the time until the deadline has passed. They would time out if the watch blocked them.
  const start = performance.now()
  while (performance.now() - start < 150)
    await objects.write('update', LEASE, leaseAt('1') as never, LATER_MS)
  stream?.write(line('MODIFIED', leaseAt('2')))
  await recorder.first()
  assert.equal(server.connections, 2)
})

test('a watch fails to open if the server refuses it, hangs, or sends an invalid answer', async () => {
  await using server = await ScriptedServer.start((_, response) => reply(response, 410, status(410, 'Gone')))
  const seen: string[] = []
  using objects = objectsFor(fixedAccess(server.url), {
    onRequest: (verb, code) => seen.push(`${verb} ${code}`),
  })
  assert.equal((await failure(new Recorder().open(objects))).code, 'gone')
  server.script = (_, response) => reply(response, 204, '')
  assert.equal((await failure(new Recorder().open(objects))).code, 'network')
  server.script = () => {}
  assert.equal((await failure(new Recorder().open(objects, undefined, 100))).code, 'timeout')
  assert.deepEqual(seen, ['watch 410', 'watch 204', 'watch timeout'])
})

test('a closed watch delivers nothing and closes its socket', async () => {
  let stream: ServerResponse | undefined
  await using server = await ScriptedServer.start((_, response) => {
    stream = response
    response.write(line('ADDED', leaseAt('1')))
  })
  using objects = objectsFor(fixedAccess(server.url))
  const recorder = await new Recorder().open(objects)
  await recorder.first()
  const closed = new Promise((resolve) => stream?.once('close', resolve))
  recorder.watch?.close()
  stream?.write(line('MODIFIED', leaseAt('2')))
  await within(closed)
  assert.deepEqual([recorder.events.length, recorder.endings], [1, 0])
})

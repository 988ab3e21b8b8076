import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApiError } from '../../agent/kube/kube-errors.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import {
  apiFor,
  failure,
  fixedAccess,
  leaseAt,
  type Received,
  reply,
  ScriptedServer,
  status,
} from '../kube/scripted-server.ts'

const DEADLINE_MS = 5_000

/** A server whose answers wait until the test gives them, and an API on it. */
class Scene implements AsyncDisposable {
  readonly clock = new VirtualClock()
  readonly server: ScriptedServer
  readonly api: ReturnType<typeof apiFor>
  private readonly came: ((request: Asked) => void)[] = []
  private readonly asked: Asked[] = []

  private constructor(server: ScriptedServer) {
    this.server = server
    this.api = apiFor(fixedAccess(server.url), { clock: this.clock })
    server.script = (request, response) => {
      const asked: Asked = { request, answer: (status, lease) => reply(response, status, lease) }
      const waiting = this.came.shift()
      if (waiting === undefined) this.asked.push(asked)
      else waiting(asked)
    }
  }

  static async open(): Promise<Scene> {
    return new Scene(await ScriptedServer.start(() => {}))
  }

  /** The next request that reaches the server. */
  async next(): Promise<Asked> {
    return this.asked.shift() ?? new Promise((resolve) => this.came.push(resolve))
  }

  /** Sends an update, answers it, and returns its request. */
  async updated(version = '1'): Promise<Asked> {
    const updating = this.api.update(written(version), DEADLINE_MS)
    const asked = await this.next()
    asked.answer(200, leaseAt('5'))
    await updating
    return asked
  }

  /** Sends an update without an answer, over a connection that has just answered another one. */
  async deadUpdate(
    seen?: (lease: Lease) => void,
  ): Promise<{ result: Promise<Lease | ApiError>; asked: Asked }> {
    await this.updated()
    const result = this.api.update(written('5'), DEADLINE_MS, seen).catch((error: ApiError) => error)
    return { result, asked: await this.next() }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.api.close()
    await this.server[Symbol.asyncDispose]()
  }
}

interface Asked {
  readonly request: Received
  answer(status: number, lease: Lease | object): void
}

/** The Lease that the update writes, with `version` as its resourceVersion. */
function written(version: string): Lease {
  const lease = leaseAt(version, 'me')
  return { ...lease, spec: { ...lease.spec, renewTime: '2025-01-01T00:00:02.000777Z' } }
}

test('a creation names the Lease, and an update without a version is refused, since it would overwrite any change', async () => {
  await using server = await ScriptedServer.start((_, response) => reply(response, 201, leaseAt('8')))
  using api = apiFor(fixedAccess(server.url))
  const { metadata, ...rest } = leaseAt('7')
  await api.create({ ...rest, metadata: { annotations: { kept: 'true' } } }, DEADLINE_MS)
  await api.rehearse(null, DEADLINE_MS)
  await api.rehearse(leaseAt('7'), DEADLINE_MS)
  const [created, ...rehearsed] = server.requests
  const { name, namespace } = metadata
  const sent = JSON.parse(created?.body ?? '')
  assert.deepEqual(sent, { ...rest, metadata: { annotations: { kept: 'true' }, name, namespace } })
  assert.deepEqual(
    rehearsed.map(({ method, url }) => method + url.search),
    ['POST?dryRun=All', 'PUT?dryRun=All'],
  )
  const error = await failure(api.update({ metadata: {} }, DEADLINE_MS))
  assert.deepEqual([error.code, server.requests.length], ['invalid', 3])
})

test('a missing Lease is read as null, and a missing path is an error', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    reply(response, 404, status(404, 'NotFound')),
  )
  using api = apiFor(fixedAccess(server.url))
  assert.equal(await api.read(DEADLINE_MS), null)
  server.script = (_, response) => reply(response, 404, 'not here')
  assert.equal((await failure(api.read(DEADLINE_MS))).code, 'invalid')
})

test('a read uses a new connection, and later requests use that connection', async () => {
  await using scene = await Scene.open()
  const update = await scene.updated()
  const reading = scene.api.read(DEADLINE_MS)
  const read = await scene.next()
  assert.notEqual(read.request.socket, update.request.socket)
  read.answer(200, leaseAt('5'))
  await reading
  assert.equal((await scene.updated('5')).request.socket, read.request.socket)
})

test('an unanswered read is repeated over two more connections, and the first answer counts', async () => {
  await using scene = await Scene.open()
  const reading = scene.api.read(DEADLINE_MS)
  const sockets = [(await scene.next()).request.socket]
  await scene.clock.pass(DEADLINE_MS / 4)
  sockets.push((await scene.next()).request.socket)
  await scene.clock.pass(DEADLINE_MS / 4)
  const third = await scene.next()
  assert.equal(new Set([...sockets, third.request.socket]).size, 3)
  third.answer(200, leaseAt('7'))
  assert.equal((await reading)?.metadata.resourceVersion, '7')
})

test('a read accepts a slow answer until its deadline', async () => {
  await using scene = await Scene.open()
  const reading = scene.api.read(DEADLINE_MS)
  const first = await scene.next()
  await scene.clock.pass(DEADLINE_MS / 2)
  await scene.next()
  await scene.next()
  await scene.clock.pass(DEADLINE_MS / 2 - 1)
  first.answer(200, leaseAt('7'))
  assert.equal((await reading)?.metadata.resourceVersion, '7')
})

test('a refusal ends a read immediately, and an unanswered read fails at its deadline', async () => {
  await using scene = await Scene.open()
  const refused = scene.api.read(DEADLINE_MS).catch((error: ApiError) => error.code)
  ;(await scene.next()).answer(403, {})
  assert.equal(await refused, 'forbidden')
  const unanswered = scene.api.read(DEADLINE_MS).catch((error: ApiError) => error.message)
  await scene.next()
  await scene.clock.pass(DEADLINE_MS)
  assert.match(String(await unanswered), /did not answer "get" within 5000 ms$/)
})

test('an unanswered update fails when a read over a new connection shows the Lease unchanged', async () => {
  await using scene = await Scene.open()
  const { result, asked } = await scene.deadUpdate()
  await scene.clock.pass(2_000)
  const read = await scene.next()
  assert.notEqual(read.request.socket, asked.request.socket)
  read.answer(200, leaseAt('5'))
  const error = await result
  assert.ok(error instanceof ApiError)
  assert.equal(error.code, 'timeout')
  // Its connection stays open, since a slow server may still apply the update.
  assert.equal(asked.request.socket.closed, false)
  assert.equal((await scene.updated('5')).request.socket, read.request.socket)
})

const GONE = { kind: 'Status', reason: 'NotFound' }
const OUTCOMES: [
  what: string,
  status: number,
  now: Lease | object,
  result: Lease | 'conflict',
  shown: Lease[],
][] = [
  ['is acknowledged by a read that shows it', 200, written('6'), written('6'), []],
  [
    'is a conflict if a read shows another holder, which is reported',
    200,
    leaseAt('9', 'b'),
    'conflict',
    [leaseAt('9', 'b')],
  ],
  ['is a conflict if a read shows no Lease', 404, GONE, 'conflict', []],
]
for (const [what, status, now, expected, shown] of OUTCOMES)
  test(`an unanswered update ${what}`, async () => {
    await using scene = await Scene.open()
    const seen: Lease[] = []
    const { result } = await scene.deadUpdate((lease) => seen.push(lease))
    await scene.clock.pass(2_000)
    ;(await scene.next()).answer(status, now)
    const outcome = await result
    assert.deepEqual([outcome instanceof ApiError ? outcome.code : outcome, seen], [expected, shown])
  })

test('a late answer to a failed update is reported', async () => {
  await using scene = await Scene.open()
  const shown = Promise.withResolvers<Lease>()
  const { result, asked } = await scene.deadUpdate(shown.resolve)
  await scene.clock.pass(2_000)
  ;(await scene.next()).answer(200, leaseAt('5'))
  assert.ok((await result) instanceof ApiError)
  asked.answer(200, written('6'))
  assert.deepEqual(await shown.promise, written('6'))
})

test('an update keeps its deadline if its read is not answered either', async () => {
  await using scene = await Scene.open()
  const { result, asked } = await scene.deadUpdate()
  await scene.clock.pass(2_000)
  await scene.next()
  await scene.clock.pass(2_000)
  asked.answer(200, leaseAt('6'))
  assert.deepEqual(await result, leaseAt('6'))
})

test('an update that is answered in time causes no read', async () => {
  await using scene = await Scene.open()
  const { result, asked } = await scene.deadUpdate()
  await scene.clock.pass(1_999)
  asked.answer(200, leaseAt('6'))
  await result
  await scene.clock.pass(DEADLINE_MS)
  assert.equal(scene.server.requests.length, 2)
})

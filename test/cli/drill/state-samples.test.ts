import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { LangflowApi } from '../../../agent/cli/drill/langflow-api.ts'
import { StateSamples } from '../../../agent/cli/drill/state-samples.ts'
import { reply, ScriptedServer } from '../../kube/scripted-server.ts'

const PATHS = { variable: '/lf/api/v1/variables/', upload: '/lf/api/v2/files/' }

/** LangFlow's variables and files: the address of each object with its name, and the content of the files. */
class Storage {
  readonly objects = new Map<string, string>([
    [`${PATHS.variable}mine`, 'OPENAI_API_KEY'],
    [`${PATHS.upload}mine`, 'report'],
  ])
  readonly contents = new Map<string, string>()
  readonly keys = new Set<string | string[] | undefined>()
  /** The status of requests with these methods and paths, instead of an answer. */
  readonly refused = new Map<string, number>()
  samples!: StateSamples

  static async open(t: TestContext): Promise<Storage> {
    const storage = new Storage()
    const server = await ScriptedServer.start(({ method, url, headers, body }, response) => {
      storage.keys.add(headers['x-api-key'])
      const path = url.pathname
      const status = storage.refused.get(`${method} ${path}`)
      if (status !== undefined) return reply(response, status, { detail: 'no' })
      if (method === 'POST') return reply(response, 201, { id: storage.create(path, body) })
      if (Object.values(PATHS).includes(path)) return reply(response, 200, storage.list(path))
      if (!storage.objects.has(path)) return reply(response, 404, {})
      if (method === 'DELETE') return reply(response, 200, { deleted: storage.objects.delete(path) })
      const content = storage.contents.get(path)
      if (content === undefined) return reply(response, 404, {})
      response.end(content)
    })
    t.after(() => server[Symbol.asyncDispose]())
    storage.samples = new StateSamples(new LangflowApi(new URL(`${server.url}/lf/`), 'sk-1'))
    return storage
  }

  create(path: string, body: string): string {
    const address = `${path}new`
    const [, name = '', content = ''] = /filename="([^"]+)\.json".*?\r\n\r\n([^\r]*)\r\n/s.exec(body) ?? []
    this.objects.set(address, name || JSON.parse(body).name)
    this.contents.set(address, content)
    return 'new'
  }

  list(path: string) {
    return [...this.objects]
      .filter(([address]) => address.startsWith(path))
      .map(([address, name]) => ({ id: address.slice(path.length), name }))
  }
}

test('both are written with the key, found again, and deleted', async (t) => {
  const { samples, objects, keys } = await Storage.open(t)
  await samples.write()
  const names = Object.values(PATHS).map((path) => objects.get(`${path}new`))
  for (const name of names) assert.match(name ?? '', /^langflow-leader-drill-[0-9a-f]{12}$/)
  assert.deepEqual(await samples.read(), { variable: 'kept', upload: 'kept' })
  await samples.forget()
  assert.deepEqual([...objects.values()], ['OPENAI_API_KEY', 'report'])
  assert.deepEqual([...keys], ['sk-1'])
})

for (const [what, lose, state] of [
  ['a row', ({ objects }) => objects.delete(`${PATHS.variable}new`), { variable: 'lost', upload: 'kept' }],
  ['a file', ({ contents }) => contents.delete(`${PATHS.upload}new`), { variable: 'kept', upload: 'lost' }],
  [
    'the content of a file',
    ({ contents }) => contents.set(`${PATHS.upload}new`, ''),
    { variable: 'kept', upload: 'lost' },
  ],
  [
    'the row of a file',
    ({ objects }) => objects.delete(`${PATHS.upload}new`),
    { variable: 'kept', upload: 'lost' },
  ],
] satisfies [string, (storage: Storage) => unknown, object][])
  test(`${what} that is gone is lost, and the rest is deleted`, async (t) => {
    const storage = await Storage.open(t)
    await storage.samples.write()
    lose(storage)
    assert.deepEqual(await storage.samples.read(), state)
    await storage.samples.forget()
    assert.deepEqual([...storage.objects.values()], ['OPENAI_API_KEY', 'report'])
  })

test('what LangFlow does not acknowledge is not measured, whether or not the key may read', async (t) => {
  for (const [writes, lists] of [
    [403, 200],
    [403, 403],
    [404, 404],
  ] as const) {
    const { samples, refused } = await Storage.open(t)
    for (const path of Object.values(PATHS)) {
      refused.set(`POST ${path}`, writes)
      if (lists !== 200) refused.set(`GET ${path}`, lists)
    }
    await samples.write()
    const { variable, upload } = await samples.read()
    assert.match(variable, new RegExp(`^not measured: POST http:.+${PATHS.variable}: status ${writes}$`))
    assert.match(upload, new RegExp(`^not measured: POST http:.+${PATHS.upload}: status ${writes}$`))
    await samples.forget()
  }
})

test('an answer that is not from LangFlow acknowledges nothing', async (t) => {
  const server = await ScriptedServer.start((_, response) => reply(response, 200, { status: 'ok' }))
  t.after(() => server[Symbol.asyncDispose]())
  const samples = new StateSamples(new LangflowApi(new URL(server.url), 'sk-1'))
  await samples.write()
  assert.deepEqual(await samples.read(), {
    variable: 'not measured: the answer of POST /api/v1/variables/ has no id',
    upload: 'not measured: the answer of POST /api/v2/files/ has no id',
  })
  await samples.forget()
})

test('a LangFlow that does not show whether it has an acknowledged object is an error, and no loss', async (t) => {
  for (const unreadable of [`GET ${PATHS.variable}`, `GET ${PATHS.upload}new`]) {
    const { samples, refused } = await Storage.open(t)
    await samples.write()
    refused.set(unreadable, 500)
    await assert.rejects(samples.read(), { code: 'not_served', message: /^GET http:\S+: status 500$/ })
  }
})

test('it is an error if an acknowledged object cannot be deleted, and the other one is deleted', async (t) => {
  for (const remains of Object.values(PATHS)) {
    const { samples, refused, objects } = await Storage.open(t)
    await samples.write()
    refused.set(`DELETE ${remains}new`, 403)
    await assert.rejects(samples.forget(), { code: 'not_served', message: /: status 403$/ })
    assert.deepEqual(
      [...objects.keys()].filter((address) => address.endsWith('new')),
      [`${remains}new`],
    )
  }
})

test('a drill that has written nothing asks LangFlow nothing', async (t) => {
  const { samples, keys } = await Storage.open(t)
  await samples.forget()
  assert.equal(keys.size, 0)
})

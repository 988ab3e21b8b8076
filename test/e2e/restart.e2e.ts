import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../harness/free-port.ts'
import { flowRequest, langflowTests, runEcho, writeFlow } from '../harness/langflow.ts'
import type { Postgres } from '../harness/postgres.ts'
import { writeLease } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'

/** LangFlow fails what a dead process left in progress once its leases are over, instead of within a minute of its start. */
const LEASES = {
  LANGFLOW_BACKGROUND_LEASE_TTL_S: '8',
  LANGFLOW_BACKGROUND_HEARTBEAT_INTERVAL_S: '2',
  LANGFLOW_TRIGGER_LEASE_TTL_S: '8',
  LANGFLOW_TRIGGER_DISPATCHER_POLL_INTERVAL_S: '2',
}
/** What it has not failed yet. */
const UNDER_WAY = `SELECT (SELECT count(*) FROM job WHERE lower(status::text) IN ('queued', 'in_progress'))
  + (SELECT count(*) FROM trigger_event WHERE state IN ('pending', 'claimed', 'dispatched'))`
const SETTLES_MS = 75_000
/** Beside those that its own description lists. */
const ROUTES = [
  '/api/v1/variables/',
  '/api/v1/api_key/',
  '/api/v1/flows/?get_all=true&header_flows=false',
  '/api/v1/users/',
  '/api/v1/all',
  '/api/v2/mcp/servers?action_count=false',
  '/api/v1/triggers',
]
/** Answers that go on for ever, are made up anew by each process, or tell for a minute what it has met. */
const LEFT_OUT = /stream|sse|logs|metrics|starter-projects|extensions\/events/
const COMPONENT = `from lfx.custom import Component
from lfx.io import MessageTextInput, Output
from lfx.schema import Data


class Added(Component):
    display_name = "Added"
    inputs = [MessageTextInput(name="text", display_name="Text")]
    outputs = [Output(name="out", display_name="Out", method="build_out")]

    def build_out(self) -> Data:
        return Data(value=self.text)
`

const langflowTest = langflowTests()

/** What a LangFlow answers, or how it refuses. */
async function ask(port: number, path: string, method = 'GET', body?: unknown): Promise<unknown> {
  const { headers } = flowRequest('')
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers: body instanceof FormData ? { 'x-api-key': headers['x-api-key'] } : headers,
    body: body instanceof FormData ? body : body === undefined ? null : JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  })
  const text = await response.text()
  if (method !== 'GET' && !response.ok)
    throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 500)}`)
  try {
    return { status: response.status, body: JSON.parse(text) }
  } catch {
    return { status: response.status, body: text }
  }
}

/** Whatever a person or a program may change while the standby waits. */
async function change(port: number, flows: string, components: string): Promise<void> {
  const create = async (path: string, body: unknown) =>
    ((await ask(port, path, 'POST', body)) as { body: { id: string } }).body
  const data = { nodes: [], edges: [] }
  await create('/api/v1/flows/', { name: 'created', data })
  const renamed = await create('/api/v1/flows/', { name: 'to be renamed', data })
  await ask(port, `/api/v1/flows/${renamed.id}`, 'PATCH', { name: 'renamed', description: 'edited' })
  const deleted = await create('/api/v1/flows/', { name: 'to be deleted', data })
  await ask(port, `/api/v1/flows/${deleted.id}`, 'DELETE')
  for (const type of ['Credential', 'Generic'])
    await create('/api/v1/variables/', {
      name: `of type ${type}`,
      value: 'a value',
      type,
      default_fields: [],
    })
  await create('/api/v1/api_key/', { name: 'another key' })
  await create('/api/v1/users/', { username: 'somebody', password: 'a-Password-1' })
  const project = await create('/api/v1/projects/', { name: 'a project', description: 'with an MCP server' })
  await create('/api/v1/flows/', { name: 'in a project', data, folder_id: project.id })
  await create('/api/v2/mcp/servers/added', { command: 'npx', args: ['a-server'] })
  const file = new FormData()
  file.set('file', new Blob(['its content']), 'uploaded.txt')
  await create('/api/v2/files/', file)
  mkdirSync(join(components, 'added'), { recursive: true })
  writeFileSync(join(components, 'added', 'added.py'), COMPONENT)
  // Files: one that is edited, and one that is new.
  const echo = join(flows, 'echo.json')
  const flow = JSON.parse(readFileSync(echo, 'utf8')) as Record<string, unknown>
  writeFileSync(echo, JSON.stringify({ ...flow, description: 'edited in its file' }))
  const added = { ...flow, name: 'added', endpoint_name: 'added' }
  writeFileSync(join(flows, 'added.json'), JSON.stringify(added))
  for (const text of ['one', 'two']) await runEcho(port, text)
  // Work that is under way at the end: a run in the background, and a schedule with its own.
  const listed = (await ask(port, '/api/v1/flows/?get_all=true&header_flows=false')) as {
    body: { id: string; endpoint_name: string | null }[]
  }
  const flow_id = listed.body.find(({ endpoint_name }) => endpoint_name === 'hold')?.id
  assert.ok(flow_id)
  await create('/api/v2/workflows', { flow_id, input_value: 'hold=600', mode: 'background' })
  const config = { cron: '0 0 1 1 *', timezone: 'UTC' }
  const schedule = { flow_id, name: 'each year', kind: 'schedule', config, state: 'active' }
  const trigger = await create('/api/v1/triggers', schedule)
  await create(`/api/v1/triggers/${trigger.id}/test`, {})
}

/** What was seen of one LangFlow. */
interface Seen {
  readonly port: number
  readonly home: string
  readonly seen: { readonly api: object; readonly database: object }
}

/** All that it answers without being told of what. */
async function answers(port: number): Promise<Record<string, unknown>> {
  const { body } = (await ask(port, '/openapi.json')) as {
    body: { paths: Record<string, { get?: unknown }> }
  }
  const described = Object.entries(body.paths).flatMap(([path, { get }]) => (get ? [path] : []))
  const paths = [...described.filter((path) => !path.includes('{')), ...ROUTES].filter(
    (path) => !LEFT_OUT.test(path),
  )
  const all: Record<string, unknown> = {}
  for (const path of paths.sort()) all[path] = await ask(port, path).catch((error: Error) => error.message)
  return all
}

/** Every row of every table. */
async function rows(postgres: Postgres, url: string): Promise<Record<string, unknown>> {
  const names = await postgres.sql(
    `SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`,
    url,
  )
  const all: Record<string, unknown> = {}
  for (const name of names.split('\n'))
    all[name] = JSON.parse(
      await postgres.sql(`SELECT coalesce(json_agg(t ORDER BY t::text), '[]') FROM "${name}" t`, url),
    )
  return all
}

/** Made up at random: a UUID, what is seen of an API key, its hash, what is encrypted, and the name of a process. */
const RANDOM = /[0-9a-f]{8}-[0-9a-f-]{27}|sk-[\w-]{5}\*+|[0-9a-f]{64}|gAAAA[\w=-]+|\w+:\d+:[0-9a-f]{8}/g
const MEASURED = /("\w*(?:latency|Latency|duration|timedelta|timestamp)\w*":\s*)("[\d.]+ \w+"|[\d.]+)/g
const TIME = /\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d| UTC)?/g

/** What each has of its own: a port, a directory, and what was made up, or happened, since `at`. */
function comparable({ port, home, seen }: Seen, other: Seen, at: string): unknown {
  const both = new Set(JSON.stringify(other.seen).match(RANDOM))
  const text = JSON.stringify(seen)
    .replaceAll(home, 'HOME')
    .replaceAll(String(port), 'PORT')
    .replaceAll(MEASURED, '$10')
    .replaceAll(RANDOM, (one) => (both.has(one) ? one : 'RANDOM'))
    .replaceAll(TIME, (one) => (one.replace(' ', 'T') > at ? 'SINCE' : one))
  const { api, database } = JSON.parse(text) as { api: object; database: Record<string, object[]> }
  // Their order was that of what is replaced by now.
  const rows = Object.entries(database).map(([table, all]) => [
    table,
    all.map((one) => JSON.stringify(one)).sort(),
  ])
  return { api, database: Object.fromEntries(rows) }
}

langflowTest(
  'what waited warm answers, after its leader was killed, what a cold start answers: field by field',
  async ({ scene, postgres, another }, t) => {
    // At once: the two that are compared must start at one time.
    const other = await another()
    const url = await postgres.newDatabase()
    const { dir, flows } = scene
    const [shared, copied] = [join(dir, 'shared'), join(dir, 'copied')]
    const components = join(dir, 'components')
    writeFlow(scene.binary, flows, 'hold')
    mkdirSync(components)
    const environment = (home: string, database: string) => {
      mkdirSync(home, { recursive: true })
      return {
        HOME: home,
        // LangFlow lists what it has in sets.
        PYTHONHASHSEED: '1',
        LANGFLOW_CONFIG_DIR: home,
        LANGFLOW_DATABASE_URL: database,
        LANGFLOW_COMPONENTS_PATH: components,
        LANGFLOW_LOAD_FLOWS_PATH: flows,
        ...LEASES,
      }
    }
    const warm = { flags: ['--standby=warm'], env: environment(shared, url) }
    // It leaves the schedule's event to its successor, whenever it is killed: what is under way then is always the same.
    const undispatched = { LANGFLOW_TRIGGER_DISPATCHER_POLL_INTERVAL_S: '600' }
    const a = await scene.replica('a', { ...warm, env: { ...warm.env, ...undispatched } })
    await scene.serves(a)
    // While the leader has its port: LangFlow writes it into its database, and neither of the two that are compared has that one.
    const port = await freePort()
    const b = await scene.replica('b', warm)
    const ready = await scene.standsBy(b)
    assert.equal(ready.mode, 'warm')

    await change(a.port, flows, components)
    // It is killed at once, since another one leads; and nobody starts as long as that does.
    const killedAt = new Date().toISOString().slice(0, 23)
    await writeLease(scene.plane, scene.namespace, 'another', 600)
    await a.event('lost')
    await a.stop()
    assert.notEqual(await postgres.sql(UNDER_WAY, url), '0')
    await until('the copy of its database', () =>
      postgres.sql(`CREATE DATABASE copy TEMPLATE ${url.split('/').at(-1)}`).then(
        () => true,
        () => false,
      ),
    )
    cpSync(shared, copied, { recursive: true })

    const from = b.lines.length
    await writeLease(scene.plane, scene.namespace, '', 1)
    const copy = url.replace(/\w+$/, 'copy')
    const c = await other.replica('c', { port, env: environment(copied, copy) })
    const [serving] = await Promise.all([scene.serves(b, from), scene.serves(c)])
    t.diagnostic(`from the release to serving: ${Date.parse(serving.time) - Date.parse(killedAt)} ms`)
    const isOver = async () =>
      (await Promise.all([url, copy].map((one) => postgres.sql(UNDER_WAY, one)))).every((n) => n === '0')
    await until('what was under way is over in both', isOver, SETTLES_MS)
    // LangFlow makes them some ten seconds after its start: for each user one, since the port is another than before.
    const keys = `SELECT count(*) FROM apikey WHERE name LIKE 'MCP Project Starter %' AND created_at > '${killedAt}Z'`
    const areMade = async () =>
      (await Promise.all([url, copy].map((one) => postgres.sql(keys, one)))).every((n) => n === '2')
    await until('both have made the keys of their MCP servers', areMade, SETTLES_MS)
    const seen = async (port: number, home: string, database: string): Promise<Seen> => {
      const api = await answers(port)
      return { port, home, seen: { api, database: await rows(postgres, database) } }
    }
    const waited = await seen(b.port, shared, url)
    const cold = await seen(c.port, copied, copy)
    assert.deepEqual(comparable(waited, cold, killedAt), comparable(cold, waited, killedAt))
  },
)

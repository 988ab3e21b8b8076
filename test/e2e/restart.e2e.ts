import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../harness/free-port.ts'
import { langflowTests, runEcho, writeFlow } from '../harness/langflow.ts'
import { LangflowUser } from '../harness/langflow-items.ts'
import type { Postgres } from '../harness/postgres.ts'
import { writeLease } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'

/** Short leases of LangFlow's own, so that it fails the unfinished work of a dead process within seconds. */
const LEASES = {
  LANGFLOW_BACKGROUND_LEASE_TTL_S: '8',
  LANGFLOW_BACKGROUND_HEARTBEAT_INTERVAL_S: '2',
  LANGFLOW_TRIGGER_LEASE_TTL_S: '8',
  LANGFLOW_TRIGGER_DISPATCHER_POLL_INTERVAL_S: '2',
}
/** Counts the work that LangFlow has neither finished nor failed yet. */
const UNDER_WAY = `SELECT (SELECT count(*) FROM job WHERE lower(status::text) IN ('queued', 'in_progress'))
  + (SELECT count(*) FROM trigger_event WHERE state IN ('pending', 'claimed', 'dispatched'))`
const SETTLES_MS = 75_000
/** Routes to compare in addition to those of LangFlow's OpenAPI description. */
const ROUTES = [
  '/api/v1/variables/',
  '/api/v1/api_key/',
  '/api/v1/flows/?get_all=true&header_flows=false',
  '/api/v1/users/',
  '/api/v1/all',
  '/api/v2/mcp/servers?action_count=false',
  '/api/v1/triggers',
]
/** Routes whose answers never end, differ between processes, or depend on the last minute. */
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

const langflowTest = await langflowTests()
const userOf = (port: number) => new LangflowUser(`http://127.0.0.1:${port}`)

/** The status and the body of an answer, which may be JSON or text. */
async function read(user: LangflowUser, path: string): Promise<{ status: number; body: unknown }> {
  const response = await user.ask('GET', path)
  const text = await response.text()
  try {
    return { status: response.status, body: JSON.parse(text) }
  } catch {
    return { status: response.status, body: text }
  }
}

/** Makes each kind of change that a user or a program can make while a standby waits. */
async function change(port: number, flows: string, components: string): Promise<void> {
  const user = userOf(port)
  const create = user.make.bind(user)
  const data = { nodes: [], edges: [] }
  await create('/api/v1/flows/', { name: 'created', data })
  const renamed = await create('/api/v1/flows/', { name: 'to be renamed', data })
  const edited = { name: 'renamed', description: 'edited' }
  assert.ok((await user.ask('PATCH', `/api/v1/flows/${renamed.id}`, edited)).ok)
  await create('/api/v1/variables/', { name: 'v', value: 'a value', type: 'Credential', default_fields: [] })
  await create('/api/v1/api_key/', { name: 'another key' })
  await create('/api/v1/users/', { username: 'somebody', password: 'a-Password-1' })
  const project = await create('/api/v1/projects/', { name: 'a project', description: 'with an MCP server' })
  await create('/api/v1/flows/', { name: 'in a project', data, folder_id: project.id })
  await create('/api/v2/mcp/servers/added', { command: 'npx', args: ['a-server'] })
  mkdirSync(join(components, 'added'), { recursive: true })
  writeFileSync(join(components, 'added', 'added.py'), COMPONENT)
  // One flow file is edited, another one is new.
  const echo = join(flows, 'echo.json')
  const flow = JSON.parse(readFileSync(echo, 'utf8')) as Record<string, unknown>
  writeFileSync(echo, JSON.stringify({ ...flow, description: 'edited in its file' }))
  const added = { ...flow, name: 'added', endpoint_name: 'added' }
  writeFileSync(join(flows, 'added.json'), JSON.stringify(added))
  for (const text of ['one', 'two']) await runEcho(port, text)
  // A background run and a schedule's run are unfinished when the leader is killed.
  const listed = await user.list('/api/v1/flows/?get_all=true&header_flows=false')
  const flow_id = listed.find(({ endpoint_name }) => endpoint_name === 'hold')?.id
  assert.ok(flow_id)
  await create('/api/v2/workflows', { flow_id, input_value: 'hold=600', mode: 'background' })
  const config = { cron: '0 0 1 1 *', timezone: 'UTC' }
  const schedule = { flow_id, name: 'each year', kind: 'schedule', config, state: 'active' }
  const trigger = await create('/api/v1/triggers', schedule)
  await create(`/api/v1/triggers/${trigger.id}/test`, {})
}

/** The API answers and the database rows of one LangFlow. */
interface Seen {
  readonly port: number
  readonly home: string
  readonly seen: { readonly api: object; readonly database: object }
}

/** The answers of all routes without parameters. */
async function answers(port: number): Promise<Record<string, unknown>> {
  const user = userOf(port)
  const { paths: routes } = JSON.parse(await user.text('/openapi.json'))
  const described = Object.entries<{ get?: unknown }>(routes).flatMap(([path, { get }]) =>
    get ? [path] : [],
  )
  const paths = [...described.filter((path) => !path.includes('{')), ...ROUTES].filter(
    (path) => !LEFT_OUT.test(path),
  )
  const all: Record<string, unknown> = {}
  for (const path of paths.sort()) all[path] = await read(user, path).catch((error: Error) => error.message)
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

/** Random values: UUIDs, masked API keys, hashes, encrypted values, process names. */
const RANDOM = /[0-9a-f]{8}-[0-9a-f-]{27}|sk-[\w-]{5}\*+|[0-9a-f]{64}|gAAAA[\w=-]+|\w+:\d+:[0-9a-f]{8}/g
const MEASURED = /("\w*(?:latency|Latency|duration|timedelta|timestamp)\w*":\s*)("[\d.]+ \w+"|[\d.]+)/g
const TIME = /\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d| UTC)?/g

/** Replaces the values that differ between two equal replicas: port, home, random values, and times after `at`. */
function comparable({ port, home, seen }: Seen, other: Seen, at: string): unknown {
  const both = new Set(JSON.stringify(other.seen).match(RANDOM))
  const text = JSON.stringify(seen)
    .replaceAll(home, 'HOME')
    .replaceAll(String(port), 'PORT')
    .replaceAll(MEASURED, '$10')
    .replaceAll(RANDOM, (one) => (both.has(one) ? one : 'RANDOM'))
    .replaceAll(TIME, (one) => (one.replace(' ', 'T') > at ? 'SINCE' : one))
  const { api, database } = JSON.parse(text) as { api: object; database: Record<string, object[]> }
  // The rows were sorted by values that are now replaced.
  const rows = Object.entries(database).map(([table, all]) => [
    table,
    all.map((one) => JSON.stringify(one)).sort(),
  ])
  return { api, database: Object.fromEntries(rows) }
}

langflowTest(
  'after its leader was killed, a warm standby gives the same answers as a cold start, field by field',
  async ({ scene, postgres, another }, t) => {
    // The second scene is opened now, so that both replicas to compare can start at the same time.
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
        // LangFlow lists the elements of sets, whose order depends on this seed.
        PYTHONHASHSEED: '1',
        LANGFLOW_CONFIG_DIR: home,
        LANGFLOW_DATABASE_URL: database,
        LANGFLOW_COMPONENTS_PATH: components,
        LANGFLOW_LOAD_FLOWS_PATH: flows,
        ...LEASES,
      }
    }
    const warm = { flags: ['--standby=warm'], env: environment(shared, url) }
    // The leader never dispatches the schedule's event, so the same work is unfinished whenever it is killed.
    const undispatched = { LANGFLOW_TRIGGER_DISPATCHER_POLL_INTERVAL_S: '600' }
    const a = await scene.replica('a', { ...warm, env: { ...warm.env, ...undispatched } })
    await scene.serves(a)
    // The port is chosen while the leader has its own. LangFlow writes the leader's port into the database, so it must differ.
    const port = await freePort()
    const b = await scene.replica('b', warm)
    const ready = await scene.standsBy(b)
    assert.equal(ready.mode, 'warm')

    await change(a.port, flows, components)
    // The Lease moves to a foreign holder, so the leader kills LangFlow immediately, and no replica leads until the copy exists.
    const killedAt = new Date().toISOString().slice(0, 23)
    await writeLease(scene.plane, scene.namespace, 'another', 600)
    await a.event('lost')
    await a.stop()
    assert.notEqual(await postgres.sql(UNDER_WAY, url), '0')
    await until('a copy of the database', () =>
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
    await until('no unfinished work in both databases', isOver, SETTLES_MS)
    // Some ten seconds after its start, LangFlow creates a key for each user, since its port has changed.
    const keys = `SELECT count(*) FROM apikey WHERE name LIKE 'MCP Project Starter %' AND created_at > '${killedAt}Z'`
    const areMade = async () =>
      (await Promise.all([url, copy].map((one) => postgres.sql(keys, one)))).every((n) => n === '2')
    await until('the keys of the MCP servers in both databases', areMade, SETTLES_MS)
    const seen = async (port: number, home: string, database: string): Promise<Seen> => {
      const api = await answers(port)
      return { port, home, seen: { api, database: await rows(postgres, database) } }
    }
    const waited = await seen(b.port, shared, url)
    const cold = await seen(c.port, copied, copy)
    assert.deepEqual(comparable(waited, cold, killedAt), comparable(cold, waited, killedAt))
  },
)

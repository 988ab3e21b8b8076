import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Client } from '../harness/client.ts'
import { freePort } from '../harness/free-port.ts'
import { ECHO_PATH, flowRequest, langflowTests } from '../harness/langflow.ts'
import { ask } from '../harness/replica.ts'
import { mono, until } from '../harness/wait.ts'

const run = promisify(execFile)
const langflowTest = langflowTests()

const CREDENTIAL_FLOW = join(import.meta.dirname, '../cluster/credential-flow.py')
const USER = 'admin'
/** Credentials that a user has stored, and one that LangFlow reads from its environment at each start. */
const [STORED, ENTERED_AGAIN, FROM_ENVIRONMENT] = ['QUICK_START', 'ENTERED_AGAIN', 'FROM_ENVIRONMENT']
const OLD = {
  key: Buffer.from('the old key, of exactly 32 bytes').toString('base64'),
  password: 'Old-password-1',
}
/** Limit for a takeover after a change: a standby prepares LangFlow again. */
const TAKEN_OVER_MS = 200_000
const OTHER_PASSWORD = 'Other-password-1'
const VALUE = 'the value of a credential'
const NEW = {
  key: Buffer.from('the new key, of exactly 32 bytes').toString('base64'),
  password: 'New-password-1',
}

langflowTest(
  'a new leader with a new secret key keeps users and API keys, and loses sessions and stored credentials until they are entered again or the old key is back',
  async ({ scene, postgres }) => {
    const url = await postgres.newDatabase()
    const replica = async (identity: string, { key, password }: typeof OLD) => {
      const started = await scene.replica(identity, {
        env: {
          LANGFLOW_DATABASE_URL: url,
          LANGFLOW_LOAD_FLOWS_PATH: undefined,
          LANGFLOW_AUTO_LOGIN: 'false',
          LANGFLOW_API_KEY_SOURCE: 'db',
          LANGFLOW_API_KEY: undefined,
          LANGFLOW_SUPERUSER: USER,
          LANGFLOW_SUPERUSER_PASSWORD: password,
          LANGFLOW_SECRET_KEY: key,
          LANGFLOW_VARIABLES_TO_GET_FROM_ENVIRONMENT: FROM_ENVIRONMENT,
          [FROM_ENVIRONMENT]: VALUE,
        },
      })
      return { started, client: new LangflowClient(started.port) }
    }

    const a = await replica('a', OLD)
    await scene.serves(a.started)
    const session = await a.client.logIn(OLD.password)
    const { api_key } = await a.client.post<{ api_key: string }>('/api/v1/api_key/', session, {
      name: 'a key',
    })
    const apiKey = { 'x-api-key': api_key }
    const store = (name: string) =>
      a.client.post<Created>('/api/v1/variables/', session, {
        name,
        value: VALUE,
        type: 'Credential',
        default_fields: [],
      })
    await store(STORED)
    const again = await store(ENTERED_AGAIN)
    const flows = new Map<string, string>()
    const flow = await credentialFlow(scene.binary)
    for (const name of [STORED, ENTERED_AGAIN, FROM_ENVIRONMENT]) {
      const ofName = JSON.parse(flow.replaceAll(STORED, name)) as object
      flows.set(name, (await a.client.post<Created>('/api/v1/flows/', session, ofName)).id)
    }
    /** The credentials that a flow can use. */
    const readable = async (client: LangflowClient) => {
      const names = []
      for (const [name, flow] of flows) if (await client.readsCredential(flow, apiKey)) names.push(name)
      return names
    }
    assert.deepEqual(await readable(a.client), [STORED, ENTERED_AGAIN, FROM_ENVIRONMENT])

    const b = await replica('b', NEW)
    await scene.standsBy(b.started)
    a.started.signal('SIGTERM')
    await scene.serves(b.started)
    // LangFlow allows five logins per minute.
    const sessionOfB = await b.client.logIn(OLD.password)
    await assert.rejects(b.client.logIn(NEW.password), /^Error: 401/)
    await assert.rejects(b.client.get('/api/v1/users/whoami', session), /^Error: 401/)
    assert.deepEqual(await readable(b.client), [FROM_ENVIRONMENT])
    assert.match(b.started.output.join('\n'), /API key decryption failed/)
    await b.client.send('PATCH', `/api/v1/variables/${again.id}`, apiKey, { id: again.id, value: VALUE })
    assert.deepEqual(await readable(b.client), [ENTERED_AGAIN, FROM_ENVIRONMENT])

    const { id } = await b.client.get<Created>('/api/v1/users/whoami', sessionOfB)
    const passwords = { current_password: OLD.password, password: NEW.password }
    await b.client.send('PATCH', `/api/v1/users/${id}/reset-password`, sessionOfB, passwords)
    await assert.rejects(b.client.logIn(OLD.password), /^Error: 401/)
    await b.client.logIn(NEW.password)
    await b.client.get('/api/v1/users/whoami', sessionOfB)
    await setPassword(scene.binary, { LANGFLOW_URL: b.client.url, LANGFLOW_API_KEY: api_key }, OTHER_PASSWORD)
    await b.client.logIn(OTHER_PASSWORD)

    const c = await replica('c', OLD)
    await scene.standsBy(c.started)
    b.started.signal('SIGTERM')
    await scene.serves(c.started)
    assert.deepEqual(await readable(c.client), [STORED, FROM_ENVIRONMENT])
  },
)

langflowTest(
  'a new database login in the env file becomes a planned takeover without a failed request, after which the old login can be closed',
  async ({ scene, postgres }, t) => {
    const url = new URL(await postgres.newDatabase())
    await postgres.sql(
      `CREATE ROLE login_1 LOGIN PASSWORD 'one'; ALTER DATABASE ${url.pathname.slice(1)} OWNER TO login_1`,
    )
    const file = join(scene.dir, 'langflow.env')
    const write = (username: string, password: string) => {
      Object.assign(url, { username, password })
      writeFileSync(file, `LANGFLOW_DATABASE_URL='${url}'\n`)
    }
    write('login_1', 'one')
    const agents = [await freePort(), await freePort()]
    const fronts = [await freePort(), await freePort()]
    const start = (name: string, index: number) =>
      scene.replica(name, {
        flags: [
          '--standby=warm',
          // On a busy machine, the run of a flow can take longer than the default.
          '--drain-timeout=30s',
          '--traffic=front',
          `--listen=127.0.0.1:${agents[index]}`,
          `--front-listen=127.0.0.1:${fronts[index]}`,
          `--peers=${agents.map((port) => `127.0.0.1:${port}`)}`,
        ],
        env: { LEADER_ENV_FILE: file, POD_NAME: name, POD_UID: name, POD_IP: '127.0.0.1' },
      })
    const a = await start('a', 0)
    await scene.serves(a)
    const b = await start('b', 1)
    assert.equal((await scene.standsBy(b)).mode, 'warm')
    for (const port of agents)
      await until('a front takes requests', async () => (await ask(port, '/frontz')).status === 200)

    let turn = 0
    const client = new Client<string>({
      everyMs: 500,
      withinMs: 60_000,
      target: () => {
        const front = fronts[turn++ % fronts.length]
        return { to: String(front), url: `http://127.0.0.1:${front}${ECHO_PATH}` }
      },
      asked: flowRequest('hello'),
      read: (text) => text,
    })
    try {
      await until('flows run', () => client.answered(0) >= 4)
      await postgres.sql(
        "CREATE ROLE login_2 LOGIN PASSWORD 'two' IN ROLE login_1; ALTER ROLE login_2 SET role = 'login_1'",
      )
      const changedAt = mono()
      write('login_2', 'two')
      assert.equal((await a.event('stepped_down', 0, TAKEN_OVER_MS)).code, 'content_changed')
      await scene.serves(b)
      t.diagnostic(`from the change to serving: ${Math.round(mono() - changedAt)} ms`)
      await postgres.sql('ALTER ROLE login_1 NOLOGIN')
      const closedAt = mono()
      await until('flows run on', () => client.answered(closedAt) >= 10)
      const logins = await postgres.sql(
        `SELECT DISTINCT usename FROM pg_stat_activity WHERE usename LIKE 'login_%'`,
      )
      assert.equal(logins, 'login_2')
    } finally {
      await client.stop()
    }
    const failed = client.calls.filter(({ failure }) => failure !== null)
    const longestMs = Math.max(...client.calls.map(({ sentAt, endedAt }) => endedAt - sentAt))
    t.diagnostic(
      `${failed.length} of ${client.calls.length} requests failed; the longest took ${Math.round(longestMs)} ms`,
    )
    assert.deepEqual(failed, [])
  },
)

interface Created {
  readonly id: string
}
type Headers = Readonly<Record<string, string>>

class LangflowClient {
  readonly url: string

  constructor(port: number) {
    this.url = `http://127.0.0.1:${port}`
  }

  /** The headers of a new session. */
  async logIn(password: string): Promise<Headers> {
    const body = new URLSearchParams({ username: USER, password })
    const { access_token } = await this.send<{ access_token: string }>('POST', '/api/v1/login', {}, body)
    return { authorization: `Bearer ${access_token}` }
  }

  async readsCredential(flow: string, headers: Headers): Promise<boolean> {
    try {
      const answer = await this.post<object>(`/api/v1/run/${flow}?stream=false`, headers, { input_value: '' })
      return JSON.stringify(answer).includes(createHash('sha256').update(VALUE).digest('hex'))
    } catch (error) {
      assert.match((error as Error).message, /^500 .*Error building Component/)
      return false
    }
  }

  get<T>(path: string, headers: Headers): Promise<T> {
    return this.send('GET', path, headers)
  }

  post<T>(path: string, headers: Headers, body: object): Promise<T> {
    return this.send('POST', path, headers, body)
  }

  /** Rejects with status and text of an error. */
  async send<T>(method: string, path: string, headers: Headers, body?: object): Promise<T> {
    const isForm = body instanceof URLSearchParams
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { ...(isForm ? {} : { 'content-type': 'application/json' }), ...headers },
      body: body === undefined ? null : isForm ? body : JSON.stringify(body),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${response.status} ${text}`)
    return JSON.parse(text) as T
  }
}

/** LangFlow's own command for an administrator. */
async function setPassword(binary: string, env: NodeJS.ProcessEnv, password: string): Promise<void> {
  const words = ['admin', 'users', 'set-password', USER, '--password-stdin']
  const running = run(binary, words, { env: { ...process.env, DO_NOT_TRACK: 'true', ...env } })
  running.child.stdin!.end(`${password}\n`)
  await running
}

/** A flow that answers with the SHA-256 of the Credential STORED, as JSON. */
async function credentialFlow(binary: string): Promise<string> {
  const { stdout } = await run(join(binary, '../python'), [CREDENTIAL_FLOW], {
    env: { ...process.env, DO_NOT_TRACK: 'true' },
  })
  return stdout.slice(stdout.indexOf('{'))
}

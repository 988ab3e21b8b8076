import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { langflowTests } from '../harness/langflow.ts'

const run = promisify(execFile)
const langflowTest = langflowTests()

const CREDENTIAL_FLOW = join(import.meta.dirname, '../cluster/credential-flow.py')
const USER = 'admin'
/** A Credential that a user has stored, and one that LangFlow reads from its environment at each start. */
const [STORED, FROM_ENVIRONMENT] = ['QUICK_START', 'FROM_ENVIRONMENT']
const OLD = {
  key: Buffer.from('the old key, of exactly 32 bytes').toString('base64'),
  password: 'Old-password-1',
}
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
    const stored = await a.client.post<Created>('/api/v1/variables/', session, {
      name: STORED,
      value: VALUE,
      type: 'Credential',
      default_fields: [],
    })
    const flows = new Map<string, string>()
    for (const name of [STORED, FROM_ENVIRONMENT]) {
      const flow = await credentialFlow(scene.binary, name)
      flows.set(name, (await a.client.post<Created>('/api/v1/flows/', session, flow)).id)
    }
    /** Which of the two credentials a flow can use. */
    const readable = async (client: LangflowClient) => {
      const names = []
      for (const [name, flow] of flows) if (await client.readsCredential(flow, apiKey)) names.push(name)
      return names
    }
    assert.deepEqual(await readable(a.client), [STORED, FROM_ENVIRONMENT])

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

    const d = await replica('d', NEW)
    await scene.standsBy(d.started)
    c.started.signal('SIGTERM')
    await scene.serves(d.started)
    await d.client.send('PATCH', `/api/v1/variables/${stored.id}`, apiKey, { id: stored.id, value: VALUE })
    assert.deepEqual(await readable(d.client), [STORED, FROM_ENVIRONMENT])
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

/** A flow that answers with the SHA-256 of a stored Credential. */
async function credentialFlow(binary: string, variable: string): Promise<object> {
  const { stdout } = await run(join(binary, '../python'), [CREDENTIAL_FLOW], {
    env: { ...process.env, DO_NOT_TRACK: 'true' },
  })
  return JSON.parse(stdout.slice(stdout.indexOf('{')).replaceAll('QUICK_START', variable)) as object
}

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { mono, until } from '../harness/wait.ts'
import type { Installation } from './installation.ts'
import { ask, QUICK_START } from './real-langflow.ts'
import { scenariosOn } from './scenario.ts'

const FLOW = join(import.meta.dirname, 'credential-flow.py')
const CREDENTIAL = 'only LangFlow can read it'
/** LangFlow's own end takes some seconds, and its start from a warm interpreter as well. */
const AWAY_MS = 15_000

const scenario = scenariosOn(QUICK_START)

scenario(
  'installed as README says, a flow uses a stored credential, by a stored API key, also after a failover',
  async (one, t) => {
    await one.settled(2, 120_000)
    const leader = await one.leader()
    const standby = (await one.pods()).find(({ metadata: { uid } }) => uid !== leader.metadata.uid)
    assert.ok(standby)
    assert.equal((await one.status(standby)).standby.mode, 'warm')

    const token = await logIn(one)
    const post = <T>(path: string, body: object) =>
      ask<T>(one, path, { method: 'POST', headers: { authorization: `Bearer ${token}` }, body })
    const { api_key: apiKey } = await post<{ api_key: string }>('/api/v1/api_key/', { name: 'quick start' })
    const variable = { name: 'QUICK_START', value: CREDENTIAL, type: 'Credential', default_fields: [] }
    await post('/api/v1/variables/', variable)
    const { id } = await post<{ id: string }>('/api/v1/flows/', await credentialFlow(one))
    await assertUsesCredential(one, id, apiKey)

    const { epoch } = one.lease
    const from = mono()
    await one.kubectl('delete', 'pod', leader.metadata.name, '--wait=false')
    await until(
      'the standby serves',
      async () => {
        const { traffic, lease } = await one.status(standby)
        return lease.epoch === epoch + 1 && lease.self && traffic.gate === 'open'
      },
      60_000,
    )
    const taken = mono()
    await until('an answer through the Service', () => one.client.answered(taken) > 0, 10_000)
    const tally = one.client.since(from)
    t.diagnostic(JSON.stringify(tally))
    assert.ok(tally.longestSilenceMs < AWAY_MS)
    await assertUsesCredential(one, id, apiKey)
  },
)

scenario('PID 1 of its container is the launcher, and kubectl exec reaches it', async (one) => {
  const { metadata } = await one.leader()
  const words = await one.kubectl(
    'exec',
    metadata.name,
    '--container=langflow',
    '--',
    'cat',
    '/proc/1/cmdline',
  )
  const [program, ...more] = words.split('\0')
  assert.equal(program, '/opt/langflow-leader/node')
  assert.ok(more.includes('--disable-sigusr1') && more.includes('launch'), words)
})

/** As the user whose password README has made. */
async function logIn(one: Installation): Promise<string> {
  const secret = await one.kubectl(
    'get',
    'secret',
    'langflow',
    '--output=jsonpath={.data.superuser-password}',
  )
  const password = Buffer.from(secret, 'base64').toString()
  const body = new URLSearchParams({ username: 'langflow', password })
  return (await ask<{ access_token: string }>(one, '/api/v1/login', { method: 'POST', body })).access_token
}

/** Of the components of the LangFlow that runs there. */
async function credentialFlow(one: Installation): Promise<object> {
  const { metadata } = await one.leader()
  const exec = ['exec', '--stdin', metadata.name, '--container=langflow', '--', 'python', '-']
  const written = await one.kube.kubectl(
    [`--namespace=${one.namespace}`, ...exec],
    readFileSync(FLOW, 'utf8'),
  )
  return JSON.parse(written.slice(written.indexOf('{'))) as object
}

async function assertUsesCredential(one: Installation, id: string, apiKey: string): Promise<void> {
  const answer = await ask(one, `/api/v1/run/${id}?stream=false`, {
    method: 'POST',
    headers: { 'x-api-key': apiKey },
    // Its input is no chat, and keeps the credential.
    body: { input_value: '', input_type: 'chat', output_type: 'chat' },
  })
  const wanted = createHash('sha256').update(CREDENTIAL).digest('hex')
  assert.ok(JSON.stringify(answer).includes(wanted), JSON.stringify(answer).slice(0, 2_000))
}

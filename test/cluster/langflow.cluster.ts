import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { eventually } from '../bench/takeover/wait.ts'
import { mono } from './client.ts'
import { evidenceOf } from './evidence.ts'
import { Installation } from './installation.ts'
import { Kube } from './kube.ts'
import { REAL_PRODUCTION } from './real-langflow.ts'

const NAME = 'written before the takeover'
/** LangFlow's own end takes some seconds; the standby is thawed in less than one. */
const AWAY_MS = 15_000

const kube = new Kube()
let langflow: Installation

before(async () => {
  langflow = await Installation.start(kube, REAL_PRODUCTION)
})
after(async () => {
  await langflow?.close()
  await kube.close()
})

test('a real LangFlow is taken over by its frozen standby when its pod is deleted, with the same data', async (t) => {
  try {
    await langflow.settled(2, 120_000)
    const [standby] = await langflow.followers()
    assert.ok(standby)
    assert.equal((await langflow.status(standby)).standby.mode, 'frozen')

    const token = await logIn()
    const { id } = await ask<{ id: string }>('POST', '/api/v1/flows/', token, {
      name: NAME,
      data: { nodes: [], edges: [] },
    })
    const { epoch } = langflow.lease
    const leader = await langflow.leader()
    const from = mono()
    await langflow.kubectl('delete', 'pod', leader.metadata.name, '--wait=false')
    await eventually('the standby serves', 60_000, async () => {
      const { traffic, lease } = await langflow.status(standby)
      return lease.epoch === epoch + 1 && lease.self && traffic.gate === 'open'
    })
    const taken = mono()
    await eventually('an answer through the Service', 10_000, () =>
      langflow.client.calls.some(({ answer, sentAt }) => answer !== null && sentAt > taken),
    )
    const tally = langflow.client.since(from)
    t.diagnostic(JSON.stringify(tally))
    assert.ok(tally.longestSilenceMs < AWAY_MS)
    assert.equal((await ask<{ name: string }>('GET', `/api/v1/flows/${id}`, token)).name, NAME)
    assert.deepEqual(langflow.lease.contradictions, [])
  } catch (error) {
    process.stderr.write(`${await evidenceOf(langflow)}\n`)
    throw error
  }
})

/** A token of the replica that serves: any other accepts it as well, since they share the secret. */
async function logIn(): Promise<string> {
  return (await ask<{ access_token: string }>('GET', '/api/v1/auto_login')).access_token
}

async function ask<T>(method: string, path: string, token?: string, body?: object): Promise<T> {
  const response = await fetch(`${langflow.url}${path}`, {
    method,
    headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 500)}`)
  return JSON.parse(text) as T
}

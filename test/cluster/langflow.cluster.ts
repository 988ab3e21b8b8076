import assert from 'node:assert/strict'
import { eventually } from '../bench/takeover/wait.ts'
import { mono } from './client.ts'
import type { Installation } from './installation.ts'
import { REAL_PRODUCTION } from './real-langflow.ts'
import { scenariosOn } from './scenario.ts'

const NAME = 'written before the takeover'
/** LangFlow's own end takes some seconds; the standby is thawed in less than one. */
const AWAY_MS = 15_000

const scenario = scenariosOn(REAL_PRODUCTION)

scenario(
  'a real LangFlow is taken over by its frozen standby when its pod is deleted, with the same data',
  async (one, t) => {
    await one.settled(2, 120_000)
    const [standby] = await one.followers()
    assert.ok(standby)
    assert.equal((await one.status(standby)).standby.mode, 'frozen')

    const token = await logIn(one)
    const { id } = await ask<{ id: string }>(one, 'POST', '/api/v1/flows/', token, {
      name: NAME,
      data: { nodes: [], edges: [] },
    })
    const { epoch } = one.lease
    const leader = await one.leader()
    const from = mono()
    await one.kubectl('delete', 'pod', leader.metadata.name, '--wait=false')
    await eventually('the standby serves', 60_000, async () => {
      const { traffic, lease } = await one.status(standby)
      return lease.epoch === epoch + 1 && lease.self && traffic.gate === 'open'
    })
    const taken = mono()
    await eventually('an answer through the Service', 10_000, () =>
      one.client.calls.some(({ answer, sentAt }) => answer !== null && sentAt > taken),
    )
    const tally = one.client.since(from)
    t.diagnostic(JSON.stringify(tally))
    assert.ok(tally.longestSilenceMs < AWAY_MS)
    assert.equal((await ask<{ name: string }>(one, 'GET', `/api/v1/flows/${id}`, token)).name, NAME)
  },
)

/** A token of the replica that serves: any other accepts it as well, since they share the secret. */
async function logIn(one: Installation): Promise<string> {
  return (await ask<{ access_token: string }>(one, 'GET', '/api/v1/auto_login')).access_token
}

async function ask<T>(
  { url }: Installation,
  method: string,
  path: string,
  token?: string,
  body?: object,
): Promise<T> {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 500)}`)
  return JSON.parse(text) as T
}

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { replicasAt } from '../../agent/cli/api-connection.ts'
import type { ReplicaRow } from '../../agent/status/agent-status.ts'
import { reply, type Script, ScriptedServer } from '../kube/scripted-server.ts'
import { SERVING, silent } from '../observe/replica.ts'
import { LEADER, STANDBY } from './agents.ts'

const routes =
  (pages: Readonly<Record<string, object | string>>): Script =>
  ({ url }, response) => {
    const page = pages[url.pathname]
    reply(response, page === undefined ? 404 : 200, page ?? { error: 'no such page' })
  }

async function asked(script: Script, path = ''): Promise<unknown> {
  await using server = await ScriptedServer.start(script)
  return await replicasAt(new URL(server.url + path))
}

describe('one replica', () => {
  test('reports itself and its peers, even behind a path', async () => {
    const rows = [LEADER, STANDBY]
    assert.deepEqual(await asked(routes({ '/replicas': rows })), rows)
    assert.deepEqual(await asked(routes({ '/api/proxy/replicas': rows }), '/api/proxy'), rows)
  })

  test('gives a reason for each peer without a status', async () => {
    const odd = { ...silent('b'), status: { identity: 'b_1' }, problem: null }
    const [, c, b] = (await asked(
      routes({ '/replicas': [LEADER, silent('c', 'refused'), odd] }),
    )) as ReplicaRow[]
    assert.deepEqual(c, silent('c', 'refused'))
    assert.match(b?.problem ?? '', /is not an agent's status/)
  })

  const wrong: Readonly<Record<string, Script>> = {
    'has no such page': routes({}),
    'responds without rows': routes({ '/replicas': [SERVING] }),
    'responds without JSON': routes({ '/replicas': '<html>' }),
    fails: (_, response) => reply(response, 503, 'x'),
    'closes the connection': ({ socket }) => socket.destroy(),
  }
  for (const [what, script] of Object.entries(wrong))
    test(`that ${what} is unreachable`, () =>
      assert.rejects(asked(script), { code: 'unreachable', exitCode: 4, message: /^http:\S+\/replicas: / }))
})

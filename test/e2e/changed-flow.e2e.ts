import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../harness/free-port.ts'
import { langflowTests, runEcho } from '../harness/langflow.ts'
import { ask, askStatus } from '../harness/replica.ts'
import { mono, until } from '../harness/wait.ts'

const TEXT = 'which flow is this?'
const langflowTest = langflowTests()

langflowTest(
  'a real LangFlow keeps serving beside a flow that would abort its start, and the next leader serves a changed flow',
  async ({ scene }, t) => {
    const { flows } = scene
    const agents = [await freePort(), await freePort()]
    const peers = agents.map((port) => `127.0.0.1:${port}`).join()
    const replica = (identity: string, port: number | undefined) =>
      scene.replica(identity, {
        flags: ['--standby=warm', `--listen=127.0.0.1:${port}`, `--peers=${peers}`],
        env: { LEADER_HANDOVER_ON_CHANGE: flows },
      })
    const a = await replica('a', agents[0])
    await scene.serves(a)
    const b = await replica('b', agents[1])
    assert.equal((await scene.standsBy(b)).mode, 'warm')
    assert.equal(await runEcho(a.port, TEXT), TEXT)

    const broken = join(flows, 'broken.json')
    writeFileSync(broken, '{"name": "broken", "data": {"nodes": []}}')
    const problem = `LangFlow would not start: ${broken} has no valid "data"`
    for (const port of agents)
      await until('its problem', async () => (await askStatus(port)).problem === problem)
    assert.equal(await runEcho(a.port, TEXT), TEXT)
    assert.equal((await ask(agents[1] as number, '/readyz?exclude=leadership')).status, 503)
    rmSync(broken)
    await until(
      'a follower that could take over',
      async () => (await askStatus(agents[1] as number)).couldTakeOver,
    )

    const flow = JSON.parse(readFileSync(join(flows, 'echo.json'), 'utf8')) as Record<string, unknown>
    const changedAt = mono()
    const added = {
      ...flow,
      id: '7d0a7f0e-2f4b-4c2a-9a3e-0d6a5c1b2e3f',
      name: 'added',
      endpoint_name: 'added',
    }
    writeFileSync(join(flows, 'added.json'), JSON.stringify(added))
    assert.equal((await a.event('stepped_down')).code, 'content_changed')
    await scene.serves(b)
    t.diagnostic(`from the change to serving: ${Math.round(mono() - changedAt)} ms`)
    assert.equal(await runEcho(b.port, TEXT, 'added'), TEXT)
    const { content } = await askStatus(agents[1] as number)
    assert.equal(content?.running, content?.digest)
  },
)

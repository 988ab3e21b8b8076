import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { FRONT_NODE_FLAGS } from '../../agent/front/agent-side/front-process.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { ask } from '../harness/connection.ts'
import { fakeLangFlow } from './fixture.ts'
import { FrontProcess } from './front-process.ts'

test("the front process follows its agent's routes, ignores SIGTERM and SIGINT, and exits when the agent's pipe closes", async (t) => {
  const langflow = await fakeLangFlow(t)
  const peers: (string | undefined)[] = []
  langflow.server.on('request', ({ socket }) => peers.push(socket.remoteAddress))
  const front = await FrontProcess.start(langflow.port, { from: '127.0.0.2' })
  t.after(() => front.stop())
  await front.toLangFlow()
  process.kill(front.pid, 'SIGTERM')
  process.kill(front.pid, 'SIGINT')
  assert.equal((await ask(front, '/a')).status, 200)
  assert.deepEqual(peers, ['127.0.0.2'])
  assert.deepEqual(await front.closePipe(), [0, null])
})

test('the front command exits with code 2 if no agent started it', async () => {
  const child = spawn(process.execPath, [...FRONT_NODE_FLAGS, BUNDLE, 'front'], {
    stdio: 'ignore',
    env: { PATH: process.env.PATH },
  })
  assert.deepEqual(await once(child, 'exit'), [2, null])
})

test('with a low limit of open files, the front keeps a descriptor to forward each held request, and logs which limit to raise', async (t) => {
  const langflow = await fakeLangFlow(t)
  const front = await FrontProcess.start(langflow.port, {}, BUNDLE, ['prlimit', '--nofile=256:256'])
  t.after(() => front.stop())
  const most = (256 - 64) / 2
  const asked = Array.from({ length: 2 * most }, () =>
    ask(front, '/', { method: 'POST', body: 'a' }).then(
      ({ status }) => status,
      () => 0,
    ),
  )
  await front.counted('as many held requests as the limit allows', ({ held }) => held === most)
  await front.toLangFlow()
  const statuses = await Promise.all(asked)
  assert.equal(statuses.filter((status) => status === 200).length, most)
  assert.equal((await ask(front, '/')).status, 200)
  assert.match(front.output, /"a connection was closed: 96 are open.*nofile/)
})

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { FRONT_NODE_FLAGS } from '../../agent/front/agent-side/front-process.ts'
import { type FromFront, readMessages, writeMessage } from '../../agent/front/front-messages.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { Series } from '../harness/wait.ts'
import { ask, FOR_EVER, fakeLangFlow, KEY } from './fixture.ts'
import { FrontProcess } from './front-process.ts'

/** Starts a front as an agent does: with a pipe as file descriptor 3. */
function startFront(t: TestContext) {
  const child = spawn(process.execPath, [...FRONT_NODE_FLAGS, BUNDLE, 'front'], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH },
  })
  t.after(() => child.kill('SIGKILL'))
  const channel = child.stdio[3] as Duplex
  const reports = new Series<FromFront>()
  readMessages<FromFront>(channel, (message) => reports.add(message))
  return { child, channel, reports, exited: once(child, 'exit') }
}

test("the front process follows its agent's routes, ignores SIGTERM and SIGINT, and exits when the agent's pipe closes", async (t) => {
  const langflow = await fakeLangFlow(t)
  const { child, channel, reports, exited } = startFront(t)
  const config = {
    listen: { host: '127.0.0.1', port: 0 },
    target: { host: '127.0.0.1', port: langflow.port },
    from: '127.0.0.2',
    holdTimeoutMs: 1000,
    holdLimit: 10,
    streamGraceMs: 1000,
  }
  writeMessage(channel, { type: 'begin', config })
  const listening = await reports.next('listening', ({ type }) => type === 'listening')
  const { port } = listening as Extract<FromFront, { type: 'listening' }>
  writeMessage(channel, {
    type: 'route',
    id: 1,
    route: { to: 'langflow', epoch: 1, key: KEY, until: FOR_EVER, closing: null },
  })
  await reports.next('routed', ({ type }) => type === 'routed')
  const peers: (string | undefined)[] = []
  langflow.server.on('request', ({ socket }) => peers.push(socket.remoteAddress))
  child.kill('SIGTERM')
  child.kill('SIGINT')
  assert.equal((await ask(port, '/a')).status, 200)
  assert.deepEqual(peers, ['127.0.0.2'])
  channel.end()
  assert.deepEqual(await exited, [0, null])
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
    ask(front.port, '/', { method: 'POST', body: 'a' }).then(
      ({ status }) => status,
      () => 0,
    ),
  )
  await front.counted('as many held requests as the limit allows', ({ held }) => held === most)
  await front.leads()
  const statuses = await Promise.all(asked)
  assert.equal(statuses.filter((status) => status === 200).length, most)
  assert.equal((await ask(front.port, '/')).status, 200)
  assert.match(
    front.output,
    /"a connection was closed: 96 are open, the most that the limit of open files allows; raise /,
  )
})

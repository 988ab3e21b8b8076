import assert from 'node:assert/strict'
import { until } from '../harness/wait.ts'
import {
  agentOf,
  deletedLeaderHandsOver,
  eventsOf,
  momentOf,
  onlyLeaderAnswers,
  withoutApiServer,
  workerOf,
} from './leadership.ts'
import { identityOf, isReady } from './objects.ts'
import { killPods, startKubelet, stopKubelet } from './processes.ts'
import { rollOut } from './rollout.ts'
import { scenariosOn } from './scenario.ts'

/** A switchover to a stand-in that starts in a second, and the probes and controllers around it. */
const SWITCHOVER_MS = 6_000
const KILLED_AFTER_MS = 14_000

const scenario = scenariosOn()

scenario('deploy/base installs under restricted Pod Security, and one of two pods leads', async (one) => {
  await one.settled()
  assert.deepEqual((await one.pods()).filter(isReady).map(identityOf), [one.lease.holder])
  assert.equal(one.lease.epoch, 1)
  const { problem } = await one.status(await one.leader())
  assert.equal(problem, null)
})

scenario('requests through the Service reach only the leader, and none fails', onlyLeaderAnswers)

scenario('a leader whose pod is deleted hands over before it ends', deletedLeaderHandsOver)

scenario('a leader whose LangFlow loses its worker hands over at once', async (one, t) => {
  await one.settled()
  const { leader, epoch, from } = await momentOf(one)
  process.kill(workerOf(leader).pid, 'SIGKILL')
  await one.served(epoch + 1)
  t.diagnostic(JSON.stringify(one.client.since(from)))
  await one.settled()
  assert.equal(one.lease.epoch, epoch + 1)
  assert.notEqual(one.lease.holder, identityOf(leader))
  assert.ok(
    one.logs.ours(leader.metadata.name).some(({ reason }) => reason?.startsWith('LangFlow lost its worker')),
  )
  assert.ok(one.client.since(from).longestSilenceMs < SWITCHOVER_MS)
})

scenario('LangFlow outlives an agent that is killed, in the same term', async (one, t) => {
  await one.settled()
  const { leader, epoch, from, pid } = await momentOf(one)
  process.kill(agentOf(leader).pid, 'SIGKILL')
  await until(
    'the agent is started again',
    async () => {
      const found = (await one.pods()).find(({ metadata: { uid } }) => uid === leader.metadata.uid)
      const agent = found?.status.initContainerStatuses?.find(({ name }) => name === 'agent')
      return agent !== undefined && agent.restartCount > 0
    },
    30_000,
  )
  await one.settled()
  t.diagnostic(JSON.stringify(one.client.since(from)))
  assert.equal(one.lease.epoch, epoch)
  assert.equal((await one.askPod(leader, '/')).pid, pid)
  assert.ok(one.client.since(from).longestSilenceMs < SWITCHOVER_MS)
})

scenario('a leader whose pod is deleted by force is followed by another', async (one, t) => {
  await one.settled()
  const { leader, epoch, from } = await momentOf(one)
  await one.kubectl('delete', 'pod', leader.metadata.name, '--force', '--grace-period=0')
  await one.served(epoch + 1)
  t.diagnostic(JSON.stringify(one.client.since(from)))
  await one.settled()
  assert.equal(one.lease.epoch, epoch + 1)
})

scenario('a rollout of deploy/base replaces every pod with one handover', async (one, t) => {
  await one.settled()
  const rollout = await rollOut(one, 2)
  t.diagnostic(JSON.stringify(rollout))
  assert.notEqual(rollout.allNewMs, null)
  assert.equal(rollout.handovers, 1)
  assert.ok(rollout.awayMs < SWITCHOVER_MS)
})

scenario('an API server that is stopped for 60 s: killed in time, one leader later', async (one, t) => {
  const { leader, epoch, from, wall } = await withoutApiServer(one, 60_000)
  const last = Math.max(...one.collector.beats.flatMap((beat) => (beat.epoch === epoch ? [beat.mono] : [])))
  t.diagnostic(`the last sign of life came ${(last - from).toFixed(0)} ms after the API server had stopped`)
  assert.ok(last < from + KILLED_AFTER_MS)
  await one.served(epoch + 1)
  await one.settled()
  t.diagnostic(JSON.stringify(one.client.since(from)))
  assert.deepEqual(eventsOf(one, leader, wall, 'lost'), ['lost'])
  assert.equal(one.lease.epoch, epoch + 1)
})

scenario('a node that restarts leaves one leader', async (one, t) => {
  await one.settled()
  const { epoch, from } = await momentOf(one)
  const kubelet = await stopKubelet()
  killPods()
  startKubelet(kubelet)
  await one.served(epoch + 1)
  await one.settled()
  t.diagnostic(JSON.stringify(one.client.since(from)))
  assert.equal(one.lease.epoch, epoch + 1)
})

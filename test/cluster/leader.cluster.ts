import assert from 'node:assert/strict'
import { eventually } from '../bench/takeover/wait.ts'
import { deletedLeaderHandsOver, onlyLeaderAnswers } from './leadership.ts'
import { agentOf, momentOf, workerOf } from './moment.ts'
import { identityOf, isReady } from './objects.ts'
import { scenariosOn } from './scenario.ts'

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
  assert.ok(one.client.since(from).longestSilenceMs < 6_000)
})

scenario('LangFlow outlives an agent that is killed, in the same term', async (one, t) => {
  await one.settled()
  const { leader, epoch, from, pid } = await momentOf(one)
  process.kill(agentOf(leader).pid, 'SIGKILL')
  await eventually('the agent is started again', 30_000, async () => {
    const found = (await one.pods()).find(({ metadata: { uid } }) => uid === leader.metadata.uid)
    const agent = found?.status.initContainerStatuses?.find(({ name }) => name === 'agent')
    return agent !== undefined && agent.restartCount > 0
  })
  await one.settled()
  t.diagnostic(JSON.stringify(one.client.since(from)))
  assert.equal(one.lease.epoch, epoch)
  assert.equal((await one.askPod(leader, '/')).pid, pid)
  assert.ok(one.client.since(from).longestSilenceMs < 6_000)
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

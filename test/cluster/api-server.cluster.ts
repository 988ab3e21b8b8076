import assert from 'node:assert/strict'
import { after, before } from 'node:test'
import { eventually } from '../bench/takeover/wait.ts'
import { mono } from './client.ts'
import { Installation } from './installation.ts'
import { Kube } from './kube.ts'
import { eventsOf, type Moment, momentOf } from './moment.ts'
import { isAlive, nodeProgram } from './processes.ts'
import { scenario } from './scenario.ts'

const KILLED_AFTER_MS = 14_000
/** Frozen for some 2 s, and the kubelet's and kube-proxy's second around them. */
const PAUSE_MS = 5_000

const kube = new Kube()
let base: Installation

before(async () => {
  base = await Installation.start(kube)
})
after(async () => {
  await base?.close()
  await kube.close()
})

scenario(
  'an API server that is stopped for 12 s costs a pause: the same LangFlow goes on, in the same term',
  () => base,
  async (one, t) => {
    const { leader, epoch, pid, from, wall } = await withoutApiServer(one, 12_000)
    await eventually(
      'LangFlow is thawed',
      10_000,
      () => eventsOf(one, leader, wall, 'workload_thawed').length > 0,
    )
    await one.settled()
    const tally = one.client.since(from)
    t.diagnostic(JSON.stringify(tally))
    assert.deepEqual(eventsOf(one, leader, wall, 'doubt', 'workload_frozen', 'workload_thawed'), [
      'doubt',
      'workload_frozen',
      'workload_thawed',
    ])
    assert.equal(one.lease.epoch, epoch)
    assert.equal((await one.askPod(leader, '/')).pid, pid)
    assert.ok(tally.longestSilenceMs < PAUSE_MS)
  },
)

scenario(
  'an API server that is stopped for 60 s: killed in time, one leader later',
  () => base,
  async (one, t) => {
    const { leader, epoch, from, wall } = await withoutApiServer(one, 60_000)
    const last = Math.max(...one.collector.beats.flatMap((beat) => (beat.epoch === epoch ? [beat.mono] : [])))
    t.diagnostic(`the last sign of life came ${(last - from).toFixed(0)} ms after the API server had stopped`)
    assert.ok(last < from + KILLED_AFTER_MS)
    await one.served(epoch + 1)
    await one.settled()
    t.diagnostic(JSON.stringify(one.client.since(from)))
    assert.deepEqual(eventsOf(one, leader, wall, 'lost'), ['lost'])
    assert.equal(one.lease.epoch, epoch + 1)
  },
)

/** Stops the API server for so long, right after a renewal: some of the grant is used up in any case. */
async function withoutApiServer(one: Installation, ms: number): Promise<Moment> {
  await one.settled()
  const leader = await one.leader()
  await eventually('a renewal was acknowledged', 10_000, async () => {
    const { leadership } = await one.status(leader)
    return (leadership.killInMs ?? 0) > 13_700
  })
  const { pid } = nodeProgram('kube-apiserver')
  const moment = { ...(await momentOf(one)), from: mono(), wall: Date.now() }
  process.kill(pid, 'SIGSTOP')
  try {
    await eventually(`${ms} ms have passed`, 2 * ms, () => mono() - moment.from >= ms)
  } finally {
    if (isAlive(pid)) process.kill(pid, 'SIGCONT')
  }
  return moment
}

import assert from 'node:assert/strict'
import { eventually } from '../bench/takeover/wait.ts'
import { eventsOf } from './moment.ts'
import { withoutApiServer } from './outage.ts'
import { scenariosOn } from './scenario.ts'

const KILLED_AFTER_MS = 14_000
/** Frozen for some 2 s; then the kubelet, which has seen the closed gate, says so first, and that it is open again. */
const PAUSE_MS = 5_000

const scenario = scenariosOn()

scenario(
  'an API server that is stopped for 12 s costs a pause: the same LangFlow goes on, in the same term',
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

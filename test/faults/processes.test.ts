import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { lives, Stage } from '../support/stage.ts'

describe('of one replica', { concurrency: 4 }, () => {
  test('the agent is killed: its workload is dead before another takes over', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    a.signal('SIGKILL')
    await b.event('acquired')
    assert.ok(!lives(a.workloadPid()))
  })

  test('the agent is frozen: the launcher freezes and kills without it, and it comes back as a follower', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    a.signal('SIGSTOP')
    await a.event('workload_frozen')
    await a.event('deadman_fired')
    await b.event('acquired')
    assert.ok(!lives(a.workloadPid()))
    a.signal('SIGCONT')
    await a.event('lost')
    await a.event('leader_observed')
    await b.event('serving')
  })

  test('the launcher is killed: the agent ends what it left, hands over, and starts another launcher', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    process.kill(a.launcherPid(), 'SIGKILL')
    await a.event('released')
    assert.ok(!lives(a.workloadPid()))
    await b.event('serving')
    await a.find(
      'a new launcher',
      (line) => /launcher connected/.test(line.msg),
      a.lines.findIndex((line) => line.event === 'released'),
    )
  })

  test('the launcher is frozen: the agent ends it and its workload, then hands over', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    process.kill(a.launcherPid(), 'SIGSTOP')
    await a.event('released')
    assert.ok(!lives(a.workloadPid()))
    await b.event('serving')
  })

  test('the launcher is frozen and the API hangs: the agent is the second deadman', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    process.kill(a.launcherPid(), 'SIGSTOP')
    const hole = stage.api.faults.partition('a')
    await b.event('acquired')
    assert.ok(!lives(a.workloadPid()))
    hole.remove()
    await b.event('serving')
  })

  test('the launcher of a follower is frozen: the replica ends all the same', async (t) => {
    const stage = await Stage.open(t)
    const [, b] = await stage.pair()
    process.kill(b.launcherPid(), 'SIGSTOP')
    b.signal('SIGTERM')
    assert.deepEqual(await b.exited, { code: 0, signal: null })
  })

  test('the whole tree is frozen past its lease: nothing acts when it wakes up', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    const [agent, launcher, workload] = [a.pid, a.launcherPid(), a.workloadPid()]
    for (const pid of [workload, launcher, agent]) process.kill(pid, 'SIGSTOP')
    await b.event('serving')
    const before = stage.beatsOf('a').length
    // The workload itself stays stopped: only what was built to, wakes.
    for (const pid of [launcher, agent]) process.kill(pid, 'SIGCONT')
    await a.event('workload_stopped')
    assert.equal(stage.beatsOf('a').length, before)
    assert.ok(!lives(workload))
  })
})

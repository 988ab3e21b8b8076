import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Orphans } from '../../agent/supervisor/orphans.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'

class Bench {
  readonly clock = new VirtualClock()
  readonly known = { mayLive: true, orphaned: false }
  readonly warnings: string[] = []
  /** Ends what is being reclaimed. */
  readonly reclaimed = Promise.withResolvers<void>()
  portFree = false
  deaths = 0
  readonly orphans: Orphans

  constructor(mode: 'pod' | 'run') {
    this.orphans = new Orphans({
      machine: {
        clock: this.clock,
        portFree: async () => this.portFree,
        ...(mode === 'run' ? { reclaim: () => this.reclaimed.promise } : {}),
      },
      killMarginMs: 1_000,
      log: { warn: (msg) => void this.warnings.push(msg) },
      known: this.known,
      dead: () => {
        this.known.orphaned = false
        this.deaths++
      },
    })
  }
}

/** Of which the launcher is gone, and something may live. */
function orphaned(mode: 'pod' | 'run', diedAlone = true, portFree = false): Bench {
  const bench = new Bench(mode)
  bench.portFree = portFree
  bench.known.orphaned = true
  bench.orphans.launcherGone(diedAlone)
  return bench
}

describe('a launcher that was told to kill', () => {
  test('and does not is done without after half the kill margin, in `run`', async () => {
    const b = new Bench('run')
    b.orphans.killOrdered()
    await b.clock.pass(400)
    b.orphans.killOrdered()
    await b.clock.pass(99)
    assert.deepEqual(b.warnings, [])
    await b.clock.pass(1)
    assert.deepEqual(b.warnings, [
      'killing the workload without its launcher: the launcher did not confirm a kill',
    ])
  })

  test('is left alone once it has, where nothing lives, and in a pod, where nobody else can', async () => {
    const confirmed = new Bench('run')
    confirmed.orphans.killOrdered()
    confirmed.orphans.killOver()
    const ended = new Bench('run')
    ended.orphans.killOrdered()
    ended.known.mayLive = false
    const idle = new Bench('run')
    idle.known.mayLive = false
    idle.orphans.killOrdered()
    idle.known.mayLive = true
    const pod = new Bench('pod')
    pod.orphans.killOrdered()
    for (const b of [confirmed, ended, idle, pod]) {
      await b.clock.pass(1_000)
      assert.deepEqual(b.warnings, [])
    }
  })

  test('is given half the margin again with the next order', async () => {
    const b = new Bench('run')
    b.orphans.killOrdered()
    await b.clock.pass(400)
    b.orphans.killOver()
    b.orphans.killOrdered()
    await b.clock.pass(499)
    assert.equal(b.warnings.length, 0)
    await b.clock.pass(1)
    assert.equal(b.warnings.length, 1)
  })
})

describe('what a launcher left that is gone', () => {
  test('is killed by the agent in `run`, and dead once that is done', async () => {
    const b = orphaned('run')
    await settled()
    assert.deepEqual(b.warnings, ['killing the workload without its launcher: the launcher is gone'])
    assert.equal(b.deaths, 0)
    b.reclaimed.resolve()
    await settled()
    assert.equal(b.deaths, 1)
  })

  test('is somebody’s again where a launcher has come meanwhile', async () => {
    const b = orphaned('run')
    b.known.orphaned = false
    b.reclaimed.resolve()
    await settled()
    assert.equal(b.deaths, 0)
  })

  test('ends with its namespace in a pod: dead once the port is free, and no sooner than after half a second', async () => {
    const b = orphaned('pod')
    await b.clock.pass(2_000)
    assert.equal(b.deaths, 0)
    b.portFree = true
    await b.clock.pass(50)
    assert.equal(b.deaths, 1)
    const quick = orphaned('pod', true, true)
    await quick.clock.pass(499)
    assert.equal(quick.deaths, 0)
    await quick.clock.pass(1)
    assert.equal(quick.deaths, 1)
  })

  test('is not looked for where a launcher has come, nothing was left, or it may live on elsewhere', async () => {
    const returned = orphaned('pod')
    returned.known.orphaned = false
    const nothing = new Bench('pod')
    nothing.orphans.launcherGone(true)
    const elsewhere = orphaned('pod', false)
    for (const b of [returned, nothing, elsewhere]) {
      b.portFree = true
      await b.clock.pass(5_000)
      assert.equal(b.deaths, 0)
    }
  })
})

test('a launcher that is silent is done without in `run` alone', async () => {
  const run = new Bench('run')
  run.orphans.launcherSilent()
  assert.deepEqual(run.warnings, ['killing the workload without its launcher: the launcher does not answer'])
  const pod = new Bench('pod')
  pod.orphans.launcherSilent()
  assert.deepEqual(pod.warnings, [])
})

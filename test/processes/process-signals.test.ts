import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ProcessStat, readProcesses } from '../../agent/processes/proc.ts'
import { type Scan, signalAll } from '../../agent/processes/signals.ts'
import { blocksSignals, spawnBlocked, TWO, touchOf } from './fixtures/bystanders.ts'
import { kill, until } from './fixtures/family.ts'

/** Two processes of one group that block their signals, the parent first. */
async function standTogether() {
  const parent = spawnBlocked(TWO, {})
  const both = () =>
    [...readProcesses().values()].filter(({ pid, ppid }) => pid === parent.pid || ppid === parent.pid)
  const ready = () => both().length === 2 && both().every(({ pid }) => blocksSignals(pid))
  await until('blocked signals', ready)
  const stats = both().sort((a, b) => a.pid - b.pid) as [ProcessStat, ProcessStat]
  return {
    stats,
    [Symbol.dispose]: () => kill(stats.map(({ pid }) => pid)),
  }
}

const scanOf = (members: readonly ProcessStat[]): Scan => ({
  table: readProcesses(),
  members: new Map(members.map((stat) => [stat.pid, stat])),
})

test('a signal for a process that has ended does not reach whoever has its pid now', async () => {
  using others = await standTogether()
  const stale = others.stats.map((stat) => ({ ...stat, startTime: '1' }))
  signalAll(stale, scanOf(stale), 'SIGTERM')
  assert.deepEqual(
    stale.flatMap(({ pid }) => touchOf(pid)),
    [],
  )
})

test('a group is signalled as one only where everybody in it belongs', async () => {
  using others = await standTogether()
  const [stranger, member] = others.stats
  assert.equal(member.pgrp, stranger.pgrp)
  signalAll([member], scanOf([member]), 'SIGTERM')
  assert.deepEqual(touchOf(member.pid), [`bystander ${member.pid} got SIGTERM`])
  assert.deepEqual(touchOf(stranger.pid), [])
})

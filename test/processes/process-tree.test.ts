import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { isDead, type ProcessStat, readProcesses, readStat } from '../../agent/processes/proc.ts'
import { createProcessTree } from '../../agent/processes/process-tree.ts'
import { signalAll } from '../../agent/processes/signals.ts'
import type { Exit } from '../../agent/processes/spawn.ts'
import { kill } from '../harness/processes.ts'
import { blocksSignals, spawnBlocked, standBy, TWO, touchOf } from './fixtures/bystanders.ts'
import { VARIABLE } from './fixtures/families.ts'
import { describeFamily, until } from './fixtures/family.ts'
import { inside } from './fixtures/namespace.ts'

const KILL_MS = 20_000
const fixture = (name: string) => join(import.meta.dirname, 'fixtures', name)

const treeOf = (marker: { name: string; value: string }) =>
  createProcessTree({ marker, clock: systemClock, alone: false })

/** A tree with a unique marker. The rest of it is killed at the end of the test. */
function plant() {
  const marker = { name: VARIABLE, value: randomUUID() }
  const tree = treeOf(marker)
  const exited = Promise.withResolvers<Exit>()
  return {
    marker,
    tree,
    exited: exited.promise,
    start: async (command: readonly string[]) => (await tree.start(command, process.env, exited.resolve)).pid,
    [Symbol.asyncDispose]: async () => void (await tree.kill(KILL_MS)),
  }
}

function isAlive(pid: number): boolean {
  const stat = readStat(pid)
  return stat !== undefined && !isDead(stat)
}

const livingOf = (pids: readonly number[]) => pids.filter(isAlive)

test('a command runs with the marker, and its exit is reported', async () => {
  await using planted = plant()
  const script = `[ "$LANGFLOW_LEADER_TREE" = ${planted.marker.value} ] && exit 7`
  const pid = await planted.start(['sh', '-c', script])
  assert.deepEqual(await planted.exited, { code: 7, signal: null })
  assert.equal(isAlive(pid), false)
  assert.deepEqual(planted.tree.alive(), [])
})

test('a command that cannot be started is rejected with one sentence', async () => {
  await using planted = plant()
  const commands: [RegExp, string[]][] = [
    [/no such file/, ['no-such-command']],
    [/permission denied/, ['/']],
    [/give a command/, []],
  ]
  for (const [message, command] of commands) await assert.rejects(planted.start(command), { message })
})

test('terminate ends a frozen tree', async () => {
  await using planted = plant()
  using family = describeFamily({ children: [{}, {}] })
  await planted.start(family.command)
  const pids = await family.ready()
  planted.tree.freeze()
  planted.tree.terminate()
  await until('no process of the group is alive', () => livingOf(pids).length === 0)
  assert.deepEqual(await planted.exited, { code: null, signal: 'SIGTERM' })
})

test('terminate signals every process if the first process, which would pass the signal on, is gone', async () => {
  await using planted = plant()
  using family = describeFamily({ children: [{ start: 'setsid' }, { start: 'daemon' }] })
  const pid = await planted.start(family.command)
  const pids = await family.ready()
  process.kill(pid, 'SIGKILL')
  await planted.exited
  assert.equal(planted.tree.alive().length, 2)
  planted.tree.terminate()
  await until('no daemon is alive', () => livingOf(pids).length === 0)
})

test('every scan finds a process of a chain in which each one starts the next in a new session and ends', async () => {
  using others = await standBy(VARIABLE, ['another'])
  await using planted = plant()
  const pid = await planted.start(['sh', fixture('chain.sh'), '30000', 'setsid'])
  /** The pids of the living processes. `[0]` if /proc cannot be read fast enough, as on a busy machine. */
  const look = () => {
    try {
      return planted.tree.alive().map((live) => live.pid)
    } catch {
      return [0]
    }
  }
  await until('the chain has started 20 processes', () => look().some((one) => one > pid + 20))
  // One process is alive at any moment. A scan that misses it would confirm a stop that has not happened.
  for (let scan = 0; scan < 50; scan++) assert.notDeepEqual(look(), [])
  assert.deepEqual(await planted.tree.kill(KILL_MS), [])
  assert.deepEqual(planted.tree.alive(), [])
  assert.deepEqual(others.touched(), [])
})

test('a freeze reports a process that another process has woken', async () => {
  await using planted = plant()
  using family = describeFamily({ children: [{}] })
  await planted.start(family.command)
  const [, child] = await family.ready()
  planted.tree.freeze()
  process.kill(child as number, 'SIGCONT')
  assert.equal(planted.tree.freeze(), 1)
})

test('a freeze reports a thread that its tracer continues, although its process shows as stopped', async () => {
  await using planted = plant()
  const pid = await planted.start(['python3', fixture('traced-thread.py')])
  const threads = () => readdirSync(`/proc/${pid}/task`)
  await until('the second thread runs', () => threads().length === 2)
  const tid = threads().find((thread) => Number(thread) !== pid) as string
  const tracer = spawn('python3', [fixture('tracer.py'), tid], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    await once(tracer.stdout, 'data')
    planted.tree.freeze()
    await until('the main thread has stopped', () => planted.tree.alive()[0]?.state === 'T')
    // The tracer may not have continued it yet, after each SIGSTOP.
    const slices = () => Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'latin1').split(' ')[2])
    const later = slices() + 10
    await until('the tracer has continued the thread', () => slices() >= later)
    assert.equal(planted.tree.freeze(), 1)
  } finally {
    tracer.kill('SIGKILL')
    await once(tracer, 'exit')
  }
})

test('a process uses no CPU between freeze and thaw, and then continues', async () => {
  await using planted = plant()
  await using beside = plant()
  const busy = ['sh', '-c', 'while :; do :; done']
  const pid = await planted.start(busy)
  const other = await beside.start(busy)
  const cpuTime = (of = pid) => Number(readFileSync(`/proc/${of}/schedstat`, 'latin1').split(' ')[0])
  await until('the process runs', () => cpuTime() !== 0)
  planted.tree.freeze()
  await until('the process is stopped', () => planted.tree.alive()[0]?.state === 'T')
  const before = cpuTime()
  assert.equal(planted.tree.freeze(), 0)
  const meanwhile = cpuTime(other) + 50e6
  await until('another process has run for 50 ms', () => cpuTime(other) >= meanwhile)
  assert.equal(cpuTime(), before)
  planted.tree.thaw()
  await until('the process continues', () => cpuTime() !== before)
  assert.equal(planted.tree.alive()[0]?.pid, pid)
})

test('the CPU time of a tree counts each process, and does not fall when one ends', async () => {
  await using planted = plant()
  await planted.start(['sh', '-c', 'sh -c "while :; do :; done" & wait; exec sleep 1000'])
  const first = planted.tree.cpuMs()
  await until('a child has used 50 ms', () => planted.tree.cpuMs() >= first + 50)
  const used = planted.tree.cpuMs()
  for (const { pid, state } of planted.tree.alive()) if (state === 'R') process.kill(pid, 'SIGKILL')
  await until('the child has ended', () => planted.tree.alive().every(({ comm }) => comm === 'sleep'))
  const rest = planted.tree.cpuMs()
  assert.ok(rest >= used, `${rest} ms after ${used} ms`)
})

test('the CPU time of a tree counts processes that begin and end between two measurements', async () => {
  await using planted = plant()
  const spin = 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'
  await planted.start(['sh', '-c', `for n in 1 2 3 4 5; do sh -c '${spin}'; done; exec sleep 1000`])
  const first = planted.tree.cpuMs()
  await until('the last child has ended', () => planted.tree.alive().every(({ comm }) => comm === 'sleep'))
  const used = planted.tree.cpuMs() - first
  assert.ok(used >= 50, `${used} ms`)
})

test('a new launcher finds the remains of a dead one by the marker alone', async () => {
  using others = await standBy(VARIABLE, ['another'])
  await using planted = plant()
  using family = describeFamily({ ignoresTerm: true, children: [{ start: 'daemon' }, { clearsEnv: true }] })
  await planted.start(family.command)
  const pids = await family.ready()
  const similar = { ...planted.marker, value: `${planted.marker.value}0` }
  assert.deepEqual(await treeOf(similar).kill(KILL_MS), [])
  assert.equal(livingOf(pids).length, 3)
  assert.deepEqual(await treeOf(planted.marker).kill(KILL_MS), [])
  assert.deepEqual(livingOf(pids), [])
  assert.deepEqual(others.touched(), [])
})

test('a process without an environment may be within execve, so for a second all is unknown, unless its parent is known', (t) =>
  inside(t, 'a process without an environment'))

test('a process group with a stranger is not signalled as a group', async () => {
  const stranger = spawnBlocked(TWO, {})
  const both = () =>
    [...readProcesses().values()].filter(({ pid, ppid }) => [pid, ppid].includes(stranger.pid as number))
  const areReady = () => both().length === 2 && both().every(({ pid }) => blocksSignals(pid))
  await until('both processes block their signals', areReady)
  const member = both().find(({ pid }) => pid !== stranger.pid) as ProcessStat
  try {
    assert.equal(member.pgrp, stranger.pid)
    signalAll([member], { table: readProcesses(), members: new Map([[member.pid, member]]) }, 'SIGTERM')
    assert.deepEqual(touchOf(member.pid), [`bystander ${member.pid} got SIGTERM`])
    assert.deepEqual(touchOf(stranger.pid as number), [])
  } finally {
    kill([stranger.pid as number, member.pid])
  }
})

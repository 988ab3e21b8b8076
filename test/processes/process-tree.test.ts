import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { createProcessTree, killMarked } from '../../agent/processes/linux-process-tree.ts'
import { glanceAtProcesses, isDead, type ProcessIdentity, readStat } from '../../agent/processes/proc.ts'
import type { Exit, LiveProcess, ProcessTree } from '../../agent/processes/process-tree.ts'
import { describeFamily, type Member, until } from '../workload/fixtures/family.ts'

const KILL_MS = 20_000
const fixture = (name: string) => join(import.meta.dirname, 'fixtures', name)

/** A tree whose marker no other test has; whatever is left of it is killed at the end. */
function plant(spare: readonly ProcessIdentity[] = []) {
  const marker = { name: 'LANGFLOW_LEADER_TREE', value: randomUUID() }
  const tree = createProcessTree({ marker, clock: systemClock, alone: false, spare: () => spare })
  let tellExit: (exit: Exit) => void
  const exited = new Promise<Exit>((resolve) => {
    tellExit = resolve
  })
  return {
    marker,
    tree,
    exited,
    start: async (command: readonly string[]) =>
      (await tree.start(command, process.env, (exit) => tellExit(exit))).pid,
    [Symbol.asyncDispose]: async () => void (await tree.kill(KILL_MS)),
  }
}

function isAlive(pid: number): boolean {
  const stat = readStat(pid)
  return stat !== undefined && !isDead(stat)
}

const livingOf = (pids: readonly number[]) => pids.filter(isAlive)
const sorted = (pids: readonly number[]) => [...pids].sort((a, b) => a - b)

/** Processes that look like the workload's and are not: same command, same variable, but another value. */
function bystanders() {
  const env = { ...process.env, LANGFLOW_LEADER_TREE: 'another' }
  const children: ChildProcess[] = [true, false].map((detached) =>
    spawn('sleep', ['60'], { detached, env, stdio: 'ignore' }),
  )
  return {
    living: () =>
      children.filter((child) => child.exitCode === null && child.signalCode === null && isAlive(child.pid!)),
    [Symbol.dispose]: () => {
      for (const child of children) child.kill('SIGKILL')
    },
  }
}

test('a spare is no part of the workload, whatever becomes of that, for as long as it is to be kept', async () => {
  const spare: ProcessIdentity[] = []
  await using planted = plant(spare)
  using family = describeFamily({ children: [{ start: 'setsid' }, { start: 'daemon' }] })
  const pid = await planted.start(family.command)
  await family.ready()
  const env = { ...process.env, [planted.marker.name]: planted.marker.value }
  const waiting = spawn('sleep', ['60'], { detached: true, env, stdio: 'ignore' })
  spare.push(readStat(waiting.pid!)!)
  // Without a parent each is told to end.
  process.kill(pid, 'SIGKILL')
  await planted.exited
  planted.tree.freeze()
  assert.equal(readStat(waiting.pid!)?.state, 'S')
  planted.tree.terminate()
  assert.deepEqual(await planted.tree.kill(KILL_MS), [])
  assert.deepEqual([planted.tree.alive(), isAlive(waiting.pid!)], [[], true])
  const ended = once(waiting, 'exit')
  spare.length = 0
  assert.deepEqual(await planted.tree.kill(KILL_MS), [])
  assert.deepEqual(await ended, [null, 'SIGKILL'])
})

test('a command runs with the marker in a session of its own, and its exit is told once', async () => {
  await using planted = plant()
  const pid = await planted.start([
    'sh',
    '-c',
    `[ "$LANGFLOW_LEADER_TREE" = ${planted.marker.value} ] && exit 7`,
  ])
  assert.deepEqual(await planted.exited, { code: 7, signal: null })
  assert.equal(isAlive(pid), false)
  assert.deepEqual(planted.tree.alive(), [])
})

test('a command that cannot be started is one clear sentence', async () => {
  await using planted = plant()
  const { start } = planted
  await assert.rejects(
    start(['no-such-command']),
    /^Error: cannot start "no-such-command": no such command in PATH/,
  )
  await assert.rejects(start(['/no/such/file']), { message: 'cannot start "/no/such/file": no such file' })
  await assert.rejects(start(['/']), {
    message: 'cannot start "/": it is not an executable file, or this user may not execute it',
  })
  await assert.rejects(start([]), { message: 'cannot start the workload: give a command after "--"' })
})

test('terminate ends what listens to SIGTERM, even when it is frozen', async () => {
  await using planted = plant()
  using family = describeFamily({ children: [{}, {}] })
  await planted.start(family.command)
  const pids = await family.ready()
  assert.equal(planted.tree.freeze().stopped, 3)
  planted.tree.terminate()
  await until('no process of the group', () => livingOf(pids).length === 0)
  assert.deepEqual(await planted.exited, { code: null, signal: 'SIGTERM' })
})

test('terminate tells every process once their parent, who would have passed it on, is gone', async () => {
  await using planted = plant()
  using family = describeFamily({ children: [{ start: 'setsid' }, { start: 'daemon' }] })
  const pid = await planted.start(family.command)
  const pids = await family.ready()
  process.kill(pid, 'SIGKILL')
  await planted.exited
  assert.equal(planted.tree.alive().length, 2)
  planted.tree.terminate()
  await until('no daemon', () => livingOf(pids).length === 0)
})

const ESCAPES: Record<string, Member> = {
  'one that ignores SIGTERM': { ignoresTerm: true },
  'a child in a session of its own': { children: [{ start: 'setsid', ignoresTerm: true }] },
  'a daemon that PID 1 adopted': { children: [{ start: 'daemon', children: [{}, { start: 'setsid' }] }] },
  'a child without the environment': { children: [{ clearsEnv: true, children: [{ start: 'setsid' }] }] },
  'stopped processes': { stopped: true, children: [{ stopped: true }, { start: 'daemon', stopped: true }] },
}

for (const [name, member] of Object.entries(ESCAPES)) {
  test(`kill ends ${name}, and nobody else`, async () => {
    using others = bystanders()
    await using planted = plant()
    using family = describeFamily(member)
    await planted.start(family.command)
    const pids = await family.ready()
    assert.deepEqual(sorted(planted.tree.alive().map(({ pid }) => pid)), sorted(pids))
    planted.tree.terminate()
    assert.deepEqual(await planted.tree.kill(KILL_MS), [])
    assert.deepEqual(livingOf(pids), [])
    assert.equal(others.living().length, 2)
  })
}

test('a worker outlives its SIGKILLed parent, is still found, and killed', async () => {
  await using planted = plant()
  using family = describeFamily({ children: [{ children: [{}] }] })
  const pid = await planted.start(family.command)
  const pids = await family.ready()
  process.kill(pid, 'SIGKILL')
  assert.deepEqual(await planted.exited, { code: null, signal: 'SIGKILL' })
  assert.deepEqual(sorted(planted.tree.alive().map((live) => live.pid)), sorted(pids.slice(1)))
  assert.deepEqual(await planted.tree.kill(KILL_MS), [])
  assert.deepEqual(livingOf(pids), [])
})

test('a daemon without environment, parent or session is known from having been seen', async () => {
  await using planted = plant()
  using family = describeFamily({
    children: [{ start: 'setsid', clearsEnv: true, children: [{ start: 'child' }, { start: 'setsid' }] }],
  })
  await planted.start(family.command)
  const pids = await family.ready()
  planted.tree.alive()
  for (const pid of pids.slice(0, 2)) process.kill(pid, 'SIGKILL')
  await until('the parents to be gone', () => livingOf(pids.slice(0, 2)).length === 0)
  assert.deepEqual(sorted(planted.tree.alive().map(({ pid }) => pid)), sorted(pids.slice(2)))
  assert.deepEqual(await planted.tree.kill(KILL_MS), [])
  assert.deepEqual(livingOf(pids), [])
})

function answerOf(tree: ProcessTree): LiveProcess[] | string {
  try {
    return tree.alive()
  } catch (error) {
    return (error as Error).message
  }
}

for (const command of [
  ['sh', fixture('forker.sh'), '3000'],
  ['sh', fixture('chain.sh'), '30000'],
  ['sh', fixture('chain.sh'), '30000', 'setsid'],
]) {
  test(`kill catches what forks meanwhile: ${command.slice(1).join(' ').replace(/^.*\//, '')}`, async () => {
    using others = bystanders()
    await using planted = plant()
    const pid = await planted.start(command)
    await until('some children', () => {
      const seen = answerOf(planted.tree)
      return typeof seen !== 'string' && seen.some((live) => live.pid > pid + 20)
    })
    // One is alive at any moment, and every scan has to see it, or a stop would be confirmed that never was.
    // So does the answer that it cannot be told, which a busy machine may give.
    for (let scan = 0; scan < 50; scan++) assert.notDeepEqual(answerOf(planted.tree), [])
    assert.deepEqual(await planted.tree.kill(KILL_MS), [])
    assert.deepEqual(planted.tree.alive(), [])
    assert.equal(others.living().length, 2)
  })
}

test('freeze catches what forks meanwhile', async () => {
  await using planted = plant()
  const pid = await planted.start(['sh', fixture('forker.sh'), '3000'])
  await until('some children', () => glanceAtProcesses().some((live) => live.pid > pid + 20))
  const { stopped } = planted.tree.freeze()
  const states = planted.tree.alive().map(({ state }) => state)
  assert.equal(states.length, stopped)
  assert.deepEqual(new Set(states), new Set('T'))
})

function freezeInTime(tree: ProcessTree): number | null {
  const began = systemClock.mono()
  try {
    const { stopped } = tree.freeze()
    return systemClock.mono() - began > 250 ? null : stopped
  } catch (error) {
    assert.match((error as Error).message, /they come and go faster than/)
    return null
  }
}

test('freeze catches who is never in one session for long', async () => {
  let inTime = 0
  // One look at the processes is enough about every second time.
  for (let round = 0; round < 6; round++) {
    await using planted = plant()
    const pid = await planted.start(['sh', fixture('chain.sh'), '3000', 'setsid'])
    await until('some links', () => glanceAtProcesses().some((live) => live.pid > pid + 5))
    const stopped = freezeInTime(planted.tree)
    // Then it has given up for now, as it may on a busy machine.
    if (stopped === null) continue
    inTime++
    const states = planted.tree.alive().map(({ state }) => state)
    assert.equal(states.length, stopped)
    assert.deepEqual(new Set(states), new Set('T'))
  }
  assert.ok(inTime > 0)
})

test('a freeze tells of a process that another hand has woken', async () => {
  await using planted = plant()
  using family = describeFamily({ children: [{}] })
  await planted.start(family.command)
  const [, child] = await family.ready()
  assert.equal(planted.tree.freeze().stopped, 2)
  process.kill(child as number, 'SIGCONT')
  assert.deepEqual(planted.tree.freeze(), { stopped: 2, awake: 1 })
})

test('a freeze tells of a thread that its tracer lets go on, although its process shows as stopped', async () => {
  await using planted = plant()
  const dir = mkdtempSync(join(tmpdir(), 'traced-'))
  try {
    await planted.start(['python3', fixture('traced-thread.py'), join(dir, 'thread')])
    await until('its second thread', () => existsSync(join(dir, 'thread')))
    const tid = readFileSync(join(dir, 'thread'), 'utf8')
    const tracer = spawn('python3', [fixture('tracer.py'), tid], { stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      await once(tracer.stdout, 'data')
      planted.tree.freeze()
      await until('the main thread to stop', () => planted.tree.alive()[0]?.state === 'T')
      assert.equal(planted.tree.freeze().awake, 1)
    } finally {
      tracer.kill('SIGKILL')
      await once(tracer, 'exit')
    }
  } finally {
    rmSync(dir, { recursive: true })
  }
})

test('nothing beats between freeze and thaw, and the same process goes on', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'beats-'))
  const server = createServer().listen(join(dir, 'socket'))
  await once(server, 'listening')
  try {
    await using planted = plant()
    const pid = await planted.start([process.execPath, fixture('beater.mjs'), join(dir, 'socket')])
    const [connection] = await once(server, 'connection')
    const beats: bigint[] = []
    const lines = createInterface({ input: connection }).on('line', (line) => beats.push(BigInt(line)))
    while (beats.length < 5) await once(lines, 'line')

    assert.equal(planted.tree.freeze().stopped, 1)
    const frozenAt = process.hrtime.bigint()
    assert.deepEqual(
      planted.tree.alive().map((live) => [live.pid, live.state]),
      [[pid, 'T']],
    )
    assert.deepEqual(planted.tree.freeze(), { stopped: 1, awake: 0 })
    await new Promise((resolve) => systemClock.after(100, () => resolve(undefined)))
    const thawnAt = process.hrtime.bigint()
    planted.tree.thaw()

    await until('a beat after the thaw', () => beats.at(-1)! > thawnAt)
    assert.deepEqual(
      beats.filter((beat) => beat > frozenAt && beat < thawnAt),
      [],
    )
    assert.deepEqual(
      planted.tree.alive().map((live) => live.pid),
      [pid],
    )
    await planted.tree.kill(KILL_MS)
  } finally {
    server.close()
    rmSync(dir, { recursive: true })
  }
})

test('zombies do not count as alive', async () => {
  await using planted = plant()
  // The parent does not wait for its child: `exec` makes it a program that knows of none.
  const parent = await planted.start(['sh', '-c', 'sleep 0.01 & exec sleep 60'])
  await until('a zombie', () => {
    const child = [...Array(200).keys()]
      .map((n) => readStat(parent + 1 + n))
      .find((stat) => stat?.ppid === parent)
    return child?.state === 'Z'
  })
  assert.deepEqual(
    planted.tree.alive().map(({ pid }) => pid),
    [parent],
  )
})

test('what a dead launcher left behind is found by the marker alone', async () => {
  using others = bystanders()
  await using planted = plant()
  using family = describeFamily({ ignoresTerm: true, children: [{ start: 'daemon' }, { clearsEnv: true }] })
  await planted.start(family.command)
  const pids = await family.ready()
  assert.deepEqual(
    await killMarked({ ...planted.marker, value: `${planted.marker.value}0` }, 0, systemClock),
    [],
  )
  assert.equal(livingOf(pids).length, 3)
  assert.deepEqual(await killMarked(planted.marker, KILL_MS, systemClock), [])
  assert.deepEqual(livingOf(pids), [])
  assert.equal(others.living().length, 2)
})

test('a marked process in the session of a stranger does not make the stranger a member', async () => {
  await using planted = plant()
  const { name, value } = planted.marker
  using others = bystanders()
  const marked = spawn('sleep', ['60'], { env: { ...process.env, [name]: value }, stdio: 'ignore' })
  await once(marked, 'spawn')
  assert.deepEqual(
    planted.tree.alive().map(({ pid }) => pid),
    [marked.pid],
  )
  assert.deepEqual(await planted.tree.kill(KILL_MS), [])
  assert.equal(others.living().length, 2)
})

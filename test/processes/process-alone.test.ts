import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { findAloneMembers, isAlone } from '../../agent/processes/membership.ts'
import { carries, type ProcessStat, readProcesses } from '../../agent/processes/proc.ts'
import { BLOCKED } from './fixtures/bystanders.ts'
import { until } from './fixtures/family.ts'
import { asRoot, withNamespace } from './fixtures/namespace.ts'

const VALUE = randomUUID()
const marked = () =>
  [...readProcesses().keys()].filter(
    (pid) => carries(pid, Buffer.from(`LANGFLOW_LEADER_TREE=${VALUE}\0`)) === 'yes',
  )

interface Lone {
  readonly unshare: ChildProcess
  /** What it says first. */
  readonly hello: { alone: boolean; aloneNow: boolean; pid: number; pids: number[]; members: number[] }
  ask(word: string): Promise<Record<string, unknown>>
}

async function withLoneLauncher(t: TestContext, use: (lone: Lone) => Promise<void>): Promise<void> {
  await withNamespace(t, ['lone-launcher.ts', VALUE], async (unshare) => {
    const lines = createInterface({ input: unshare.stdout! })
    const answer = async () => JSON.parse((await once(lines, 'line'))[0])
    await use({
      unshare,
      hello: await answer(),
      ask: async (word) => {
        const next = answer()
        unshare.stdin!.write(`${word}\n`)
        return next
      },
    })
  })
}

function initOf(unshare: ChildProcess): ProcessStat {
  return [...readProcesses().values()].find((stat) => stat.ppid === unshare.pid)!
}

test('as PID 1, a launcher owns whatever lives, visitors from outside excepted', async (t) => {
  await withLoneLauncher(t, async ({ unshare, hello, ask }) => {
    assert.equal(hello.alone, true)
    assert.equal(hello.aloneNow, false)
    assert.deepEqual(hello.members.sort(), hello.pids.sort())

    // What `kubectl exec` does.
    const init = initOf(unshare)
    const where = [
      '--target',
      String(init.pid),
      ...(asRoot ? [] : ['--user', '--preserve-credentials']),
      '--pid',
      '--mount',
    ]
    const visit = spawn('nsenter', [...where, ...BLOCKED], { stdio: 'ignore' })
    try {
      const frozen = await ask('freeze')
      assert.equal(frozen.stopped, 4)
      assert.deepEqual(frozen.states, ['T', 'T', 'T', 'T'])
      assert.deepEqual(frozen.touched, [])
      assert.deepEqual((await ask('thaw and terminate')).touched, [])
      assert.deepEqual((await ask('kill')).survivors, [])
      assert.deepEqual(marked(), [])
    } finally {
      visit.kill('SIGKILL')
    }
  })
})

test('as PID 1, a launcher spares what is to go on waiting, and nothing once it is to be spared no more', async (t) => {
  await withLoneLauncher(t, async ({ ask }) => {
    const { survivors, spare, living, members } = await ask('kill all but a spare')
    assert.deepEqual({ survivors, living, members }, { survivors: [], living: [spare], members: 0 })
    assert.deepEqual((await ask('kill')).survivors, [])
  })
})

test('when PID 1 is SIGKILLed from outside, the kernel kills everything it had started', async (t) => {
  await withLoneLauncher(t, async ({ unshare }) => {
    assert.notDeepEqual(marked(), [])
    const ended = once(unshare, 'exit')
    process.kill(initOf(unshare).pid, 'SIGKILL')
    await ended
    await until('an empty namespace', () => marked().length === 0)
  })
})

test('a process among others, like this test, is not alone', () => {
  assert.equal(isAlone(), false)
})

const stat = (pid: number, ppid: number): [number, ProcessStat] => [
  pid,
  { pid, ppid, comm: 'x', state: 'S', pgrp: pid, session: pid, flags: 0, threads: 1, startTime: '1' },
]

test('members of a namespace are those that descend from PID 1, however the scan saw them', () => {
  const table = new Map([
    stat(1, 0), // the launcher
    stat(2, 1), // its tini
    stat(3, 2), // the workload
    stat(4, 1), // a daemon
    stat(5, 4),
    stat(6, 0), // an exec probe
    stat(7, 6),
    stat(8, 99), // its parent ended during the scan
    stat(9, 10), // a circle, from reused pids
    stat(10, 9),
  ])
  assert.deepEqual([...findAloneMembers(table).keys()], [2, 3, 4, 5, 8, 9, 10])
})

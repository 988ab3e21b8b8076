import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { findAloneMembers, isAlone } from '../../agent/workload/alone.ts'
import { carries, type ProcessStat, readProcesses } from '../../agent/workload/proc.ts'
import { until } from './fixtures/family.ts'

const asRoot = process.getuid?.() === 0
const NAMESPACE = [...(asRoot ? [] : ['--user', '--map-root-user']), '--pid', '--fork', '--mount-proc']
const marked = () =>
  [...readProcesses().keys()].filter(
    (pid) => carries(pid, Buffer.from('LANGFLOW_LEADER_TREE=alone\0')) === 'yes',
  )

function missing(): string | undefined {
  const tried = spawnSync('unshare', [...NAMESPACE, 'true'], { encoding: 'utf8' })
  return tried.status === 0
    ? undefined
    : `no PID namespace to be had: ${tried.error?.message ?? tried.stderr}`
}

/** The real tini, or a shell of that name, which as PID 1 does the same: it ends with its only child. */
function initCommand(dir: string): string[] {
  const tini = (process.env.PATH ?? '').split(delimiter).map((path) => join(path, 'tini'))
  const found = tini.find((path) => spawnSync(path, ['--version']).status === 0)
  if (found) return [found, '--']
  copyFileSync(realpathSync('/bin/sh'), join(dir, 'tini'))
  return [join(dir, 'tini'), '-c', '"$0" "$@"; exit']
}

interface Lone {
  readonly unshare: ChildProcess
  /** What it says first. */
  readonly hello: { alone: boolean; aloneNow: boolean; pid: number; pids: number[]; members: number[] }
  ask(word: string): Promise<Record<string, unknown>>
}

async function withLoneLauncher(t: TestContext, use: (lone: Lone) => Promise<void>): Promise<void> {
  const reason = missing()
  if (reason) {
    t.diagnostic(`SKIPPED: ${reason}`)
    t.skip(reason)
    return
  }
  const dir = mkdtempSync(join(tmpdir(), 'alone-'))
  const launcher = [process.execPath, join(import.meta.dirname, 'fixtures', 'lone-launcher.ts')]
  const unshare = spawn('unshare', [...NAMESPACE, ...initCommand(dir), ...launcher], {
    // It is killed in the end, and cannot clean up itself.
    env: { ...process.env, TMPDIR: dir },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: unshare.stdout })
  const answer = async () => JSON.parse((await once(lines, 'line'))[0])
  try {
    const hello = await answer()
    await use({
      unshare,
      hello,
      ask: async (word) => {
        const next = answer()
        unshare.stdin.write(`${word}\n`)
        return next
      },
    })
  } finally {
    unshare.kill('SIGKILL')
    for (const stat of readProcesses().values())
      if (stat.ppid === unshare.pid) process.kill(stat.pid, 'SIGKILL')
    rmSync(dir, { recursive: true })
  }
}

test('alone with its init, a launcher owns whatever lives, visitors from outside excepted', async (t) => {
  await withLoneLauncher(t, async ({ unshare, hello, ask }) => {
    assert.equal(hello.alone, true)
    assert.equal(hello.aloneNow, false)
    assert.deepEqual(hello.members.sort(), hello.pids.sort())

    // What `kubectl exec` does.
    const init = [...readProcesses().values()].find((stat) => stat.ppid === unshare.pid)!
    const where = [
      '--target',
      String(init.pid),
      ...(asRoot ? [] : ['--user', '--preserve-credentials']),
      '--pid',
      '--mount',
    ]
    const visit = spawn('nsenter', [...where, 'sleep', '60'], { stdio: 'ignore' })
    try {
      const frozen = await ask('freeze')
      assert.equal(frozen.stopped, 4)
      assert.deepEqual(frozen.states, ['T', 'T', 'T', 'T'])
      assert.equal(frozen.visitor, 'S')
      assert.deepEqual((await ask('kill')).survivors, [])
      assert.deepEqual(marked(), [])
    } finally {
      visit.kill('SIGKILL')
    }
  })
})

test('when a lone launcher is SIGKILLed, the kernel kills everything it had started', async (t) => {
  await withLoneLauncher(t, async ({ unshare }) => {
    assert.notDeepEqual(marked(), [])
    const ended = once(unshare, 'exit')
    unshare.stdin!.write('die\n')
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

test('members of a namespace are those that descend from PID 1 or the launcher, however the scan saw them', () => {
  const table = new Map([
    stat(1, 0),
    stat(2, 1), // the launcher
    stat(3, 2), // the workload
    stat(4, 1), // a daemon
    stat(5, 4),
    stat(6, 0), // an exec probe
    stat(7, 6),
    stat(8, 99), // its parent ended during the scan
    stat(9, 10), // a circle, from reused pids
    stat(10, 9),
  ])
  assert.deepEqual([...findAloneMembers(table, 2).keys()], [3, 4, 5, 8, 9, 10])
})

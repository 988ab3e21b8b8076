import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { findAloneMembers, isAlone } from '../../agent/processes/membership.ts'
import type { ProcessStat } from '../../agent/processes/proc.ts'
import { BLOCKED } from './fixtures/bystanders.ts'
import { asRoot, INSIDE, initOf, inside } from './fixtures/namespace.ts'

/** Enters the namespace as `kubectl exec` does. */
function execInside(t: TestContext, unshare: ChildProcess, command: readonly string[]): ChildProcess {
  const user = asRoot ? [] : ['--user', '--preserve-credentials']
  const where = ['--target', String(initOf(unshare)), ...user, '--pid', '--mount']
  const visit = spawn('nsenter', [...where, ...command], { stdio: ['ignore', 'inherit', 'inherit'] })
  t.after(() => visit.kill('SIGKILL'))
  return visit
}

test('as PID 1, a launcher owns every process, except those that entered from outside', (t) =>
  inside(t, 'entered from outside', {
    ready: async (unshare) => void execInside(t, unshare, BLOCKED),
  }))

test('a process that entered from outside is not alone, even if PID 1 has no child', (t) =>
  inside(t, 'idle', {
    ends: false,
    async ready(unshare) {
      const visit = execInside(t, unshare, [process.execPath, INSIDE, 'enter from outside'])
      assert.deepEqual(await once(visit, 'exit'), [0, null])
    },
  }))

test('a process that shares its PID namespace, such as this test, is not alone', () => {
  assert.equal(isAlone(), false)
})

test('no zombie is left after 10 terms of a LangFlow with 60 background pairs, ended in order and by force', (t) =>
  inside(t, 'ends terms', { reaps: true }))

test('if a process appears after all others were stopped and killed, everything is killed in one step', (t) =>
  inside(t, 'a process appears during a kill', { reaps: true }))

const stat = (pid: number, ppid: number): [number, ProcessStat] => [
  pid,
  { pid, ppid, comm: 'x', state: 'S', pgrp: pid, flags: 0, threads: 1, cpuTicks: 0, startTime: '1' },
]

test('the members of a namespace are the descendants of PID 1, also if a parent ended or pids were reused during the scan', () => {
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

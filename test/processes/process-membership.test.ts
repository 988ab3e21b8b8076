import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findMembers, NOTHING_SEEN, type Seen } from '../../agent/processes/membership.ts'
import { carries, isDead, type ProcessStat, parseStat } from '../../agent/processes/proc.ts'

/** Parses `parent/pid@start`, with an optional `s` and the session. The default session and group are the pid. */
function table(...lines: string[]): Map<number, ProcessStat> {
  return new Map(
    lines.map((line) => {
      const [, ppid, pid, start, session = pid] = /^(\d+)\/(\d+)@(\d+)(?:s(\d+))?$/.exec(line)!
      const stat: ProcessStat = {
        pid: Number(pid),
        ppid: Number(ppid),
        comm: 'x',
        state: 'S',
        pgrp: Number(session),
        session: Number(session),
        flags: 0,
        threads: 1,
        startTime: start!,
      }
      return [stat.pid, stat]
    }),
  )
}

const SELF = 10
const SHELL = ['0/1@0', '1/5@1', '5/10@5s5']
const find = (lines: string[], seen: Seen = NOTHING_SEEN, marked: number[] = []) =>
  findMembers(table(...SHELL, ...lines), seen, new Set(marked), SELF)
const pidsOf = (lines: string[], seen?: Seen, marked?: number[]) =>
  [...find(lines, seen, marked).members.keys()].sort((a, b) => a - b)
const child = find(['10/20@20'], NOTHING_SEEN, [20]).seen

test('all descendants of a member are members, and its siblings are not', () => {
  assert.deepEqual(pidsOf(['10/20@20', '20/21@21', '21/22@22', '10/23@23', '1/24@24'], child), [20, 21, 22])
})

test('a daemon with the marker and its children are members', () => {
  assert.deepEqual(pidsOf(['1/30@30', '30/31@31', '1/32@32'], NOTHING_SEEN, [30]), [30, 31])
})

test('a process that an earlier scan found stays a member without its parent, session and environment', () => {
  const { seen } = find(['10/20@20', '20/21@21'], child)
  assert.deepEqual(pidsOf(['1/21@21'], seen), [21])
})

test('a process that reuses the pid of a member is no member', () => {
  const { seen } = find(['10/20@20', '20/21@21'], child)
  assert.deepEqual(pidsOf(['1/21@99'], seen), [])
})

test('a process in a session that a member created is a member, even after that member has ended', () => {
  assert.deepEqual(pidsOf(['1/25@25s20'], child), [25])
})

test('a session is no longer a member’s if another process has reused its id', () => {
  assert.deepEqual(pidsOf(['1/20@99', '20/25@100s20'], child), [])
})

test('a marked process in the session of a terminal does not make other processes of that session members', () => {
  const { seen } = find(['5/30@30s5'], NOTHING_SEEN, [30])
  assert.deepEqual(pidsOf(['5/30@30s5', '5/31@31s5'], seen), [30])
})

test('the launcher, its ancestors and PID 1 are never members, even with the marker', () => {
  assert.deepEqual(pidsOf(['10/20@20', '5/40@40'], child, [1, 5, 10]), [20])
})

test('a process older than its parent is no member, because the parent’s pid was reused', () => {
  assert.deepEqual(pidsOf(['10/20@20', '20/21@19'], child), [20])
})

test('stat is parsed even if the command name contains parentheses and line breaks', () => {
  const numbers = '7 8 9 0 -1 4194304 99 0 0 0 0 0 0 0 20 0 3 0 248831 3133440 373'
  const stat = parseStat(`42 (a) S 1 (\n) T ${numbers}`)
  assert.deepEqual(stat, {
    pid: 42,
    comm: 'a) S 1 (\n',
    state: 'T',
    ppid: 7,
    pgrp: 8,
    session: 9,
    flags: 4194304,
    threads: 3,
    startTime: '248831',
  })
  assert.equal(parseStat('42 (a) T 7 8'), undefined)
  assert.equal(parseStat(''), undefined)
})

test('a zombie is dead, unless other threads of it are alive', () => {
  const [stat] = table('1/20@20').values()
  assert.equal(isDead({ ...stat!, state: 'Z' }), true)
  assert.equal(isDead({ ...stat!, state: 'Z', threads: 2 }), false)
  assert.equal(isDead({ ...stat!, state: 'T' }), false)
})

test('an environment has a variable only if its whole name and value match', () => {
  const [name, value] = Object.entries(process.env).find(([, text]) => text !== undefined && text.length > 2)!
  const ask = (variable: string) => carries(process.pid, Buffer.from(`${variable}\0`))
  assert.equal(ask(`${name}=${value}`), 'yes')
  assert.equal(ask(`${name}=${value!.slice(0, -1)}`), 'no')
  assert.equal(ask(`${name.slice(1)}=${value}`), process.env[name.slice(1)] === value ? 'yes' : 'no')
  assert.equal(carries(2 ** 30, Buffer.from('A=1\0')), 'gone')
})

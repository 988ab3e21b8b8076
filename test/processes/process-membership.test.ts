import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findMembers, type Seen } from '../../agent/processes/membership.ts'
import { carries, isDead, type ProcessStat, parseStat } from '../../agent/processes/proc.ts'

/** Parses `parent/pid@start`. */
function table(...lines: string[]): Map<number, ProcessStat> {
  return new Map(
    lines.map((line) => {
      const [, ppid, pid, startTime = ''] = /^(\d+)\/(\d+)@(\d+)$/.exec(line) ?? []
      const ids = { pid: Number(pid), ppid: Number(ppid), pgrp: Number(pid) }
      return [ids.pid, { ...ids, comm: 'x', state: 'S', flags: 0, threads: 1, cpuTicks: 0, startTime }]
    }),
  )
}

const CHILD = table('10/20@20')
const FAMILY = table('10/20@20', '20/21@21')

const MEMBERS: [what: string, lines: string[], seen: Seen, marked: number[], members: number[]][] = [
  [
    'all descendants, and no sibling',
    ['10/20@20', '20/21@21', '21/22@22', '10/23@23', '1/24@24'],
    CHILD,
    [],
    [20, 21, 22],
  ],
  [
    'a daemon with the marker, and its children',
    ['1/30@30', '30/31@31', '1/32@32'],
    new Map(),
    [30],
    [30, 31],
  ],
  ['a member of the last scan that has lost its parent and its marker', ['1/21@21'], FAMILY, [], [21]],
  ['no process that reuses the pid of a member', ['1/21@99'], FAMILY, [], []],
  [
    'neither the launcher nor its ancestors, even with the marker',
    ['10/20@20', '5/40@40'],
    CHILD,
    [1, 5, 10],
    [20],
  ],
  ['no process older than its parent, whose pid was reused', ['10/20@20', '20/21@19'], CHILD, [], [20]],
]
for (const [what, lines, seen, marked, members] of MEMBERS)
  test(`members of a shared namespace: ${what}`, () => {
    const found = findMembers(table('0/1@0', '1/5@1', '5/10@5', ...lines), seen, new Set(marked), 10)
    assert.deepEqual([...found.keys()].sort(), members)
  })

test('stat is parsed even if the command name contains parentheses and line breaks', () => {
  const numbers = '7 8 9 0 -1 4194304 99 0 0 0 5 2 30 40 20 0 3 0 248831 3133440 373'
  const stat = parseStat(`42 (a) S 1 (\n) T ${numbers}`)
  const ids = { pid: 42, comm: 'a) S 1 (\n', ppid: 7, pgrp: 8 }
  assert.deepEqual(stat, {
    ...ids,
    state: 'T',
    flags: 4194304,
    threads: 3,
    cpuTicks: 77,
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

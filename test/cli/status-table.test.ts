import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { overviewFrom } from '../../agent/cli/overview.ts'
import { statusTable } from '../../agent/cli/status-table.ts'
import type { AgentStatus, ReplicaRow } from '../../agent/status/agent-status.ts'
import { FOLLOWING, fronted, SERVING, silent } from '../observe/replica.ts'
import { changed, LEADER, row, STANDBY } from './agents.ts'

const NOW = Date.parse('2026-01-02T03:04:05Z')

function shown(rows: readonly ReplicaRow[], wide = false): string[] {
  const overview = overviewFrom(rows)
  assert.ok(overview)
  return stripVTControlCharacters(statusTable(overview, NOW, wide)).split('\n')
}

/** The cells of the column with this header, from the top. */
function column(head: string, lines: readonly string[]): string[] {
  const heads = lines[2] ?? ''
  const from = heads.indexOf(head)
  assert.ok(from >= 0, `no column ${head} in ${heads}`)
  const rows = lines.slice(3, lines.indexOf('', 3))
  return rows.map((line) => line.slice(from).split('  ', 1)[0] ?? '')
}

test('status prints a table, and below it the problems of the replicas and the verdict', () => {
  assert.deepEqual(shown([LEADER, STANDBY, silent('c', 'its agent is not running:  ImagePullBackOff')]), [
    'Lease team/langflow-leader-lock: a leads since 2026-01-02T03:00:00Z (4m5s), epoch 7',
    '',
    'POD  ROLE      STATE      STANDBY  TAKEOVER  KILL IN  REVISION   AGE',
    'a    leader    serving    -        -         13.3s    7d9c5b8f4  90s',
    'b    follower  ready      cold     yes       -        7d9c5b8f4  90s',
    'c    unknown   no answer  -        -         -        -          -',
    '',
    'c: its agent is not running:  ImagePullBackOff',
    'One replica serves, and another can take over.',
    '',
  ])
})

test('the title reports that the leader holds the Lease if it does not report that it leads', () => {
  const [title] = shown([changed(LEADER, { role: 'follower' }), STANDBY])
  assert.match(title ?? '', /: a holds it since 2026-01-02T03:00:00Z \(4m5s\), epoch 7$/)
})

test('a wide table also has the nodes, versions and fronts', () => {
  const busy = fronted(SERVING, { held: 12, oldestHeldMs: 812, inFlight: 3, streams: 1 })
  const lines = shown([row('a', { ...busy, flowsDigest: '3f1c9a2b1c9d' }), STANDBY], true)
  const cells = { EPOCH: '7', LANGFLOW: '1.13.0', FLOWS: '3f1c9a2b1c9d', HELD: '12, 812ms', STREAMS: '1' }
  for (const [head, cell] of Object.entries({ ...cells, 'IN FLIGHT': '3', NODE: 'node-a' }))
    assert.equal(column(head, lines)[0], cell)
  assert.deepEqual(column('HELD', lines)[1], '-')
})

test('a wide table has the digest of the files, and of the LangFlow that still runs with others', () => {
  const content = {
    digest: 'c2',
    ageMs: 90_000,
    running: 'c1',
    earlier: ['c1'],
    problem: null,
  }
  const rows = [row('a', { ...SERVING, content }), row('b', { ...FOLLOWING, content }), STANDBY]
  assert.deepEqual(column('CONTENT', shown(rows, true)), ['c2 (90s), runs c1', 'c2 (90s)', '-'])
})

const warm = { ...FOLLOWING.standby, wanted: 'warm', mode: 'warm', state: 'ready' } as const
const standbys: [status: AgentStatus, cell: string][] = [
  [{ ...FOLLOWING, standby: warm }, 'warm'],
  [{ ...FOLLOWING, standby: { ...warm, state: 'preparing' } }, 'warm, preparing'],
  [{ ...FOLLOWING, standby: { ...warm, mode: 'cold' } }, 'cold, not warm'],
  [{ ...SERVING, standby: warm }, '-'],
]
for (const [status, cell] of standbys)
  test(`the STANDBY column shows: ${cell}`, () => {
    assert.deepEqual(column('STANDBY', shown([row('a', status)])), [cell])
  })

test('the TAKEOVER column of a follower shows yes, after resume, or no', () => {
  const pause = { until: null, reason: null }
  const takeover = (change: Partial<AgentStatus>) =>
    column('TAKEOVER', shown([LEADER, changed(STANDBY, change)]))[1]
  assert.deepEqual(
    [takeover({}), takeover({ pause }), takeover({ pause, couldTakeOver: false })],
    ['yes', 'after resume', 'no'],
  )
})

describe('below the table, status', () => {
  const reason = 'the first start of revision 5f failed'
  const onTrial = (failed: 'workload_exited' | null) => ({ onTrial: { reason, failed } })
  const failed = { couldTakeOver: false, unable: reason, problem: reason, ...onTrial('workload_exited') }
  const standby = { ...FOLLOWING.standby, wanted: 'warm', reason: 'not enough memory' } as const
  const deaf = row('b', fronted(FOLLOWING, { listening: false }))
  const problem = 'its front cannot listen: port 8091 is taken'
  const notes: [rows: ReplicaRow[], line: string][] = [
    [[LEADER, changed(STANDBY, onTrial(null))], `b: ${reason}`],
    [[LEADER, changed(STANDBY, failed)], `b: cannot take over: ${reason}`],
    [[LEADER, changed(STANDBY, { standby })], 'b: standby cold, not warm: not enough memory'],
    [[changed(LEADER, { problem: 'no right to watch' }), STANDBY], 'a: no right to watch'],
    [[LEADER, deaf], 'b: its front does not listen yet'],
    [[LEADER, changed(deaf, { problem })], `b: ${problem}`],
  ]
  for (const [rows, line] of notes)
    test(`prints once: ${line}`, () => {
      assert.deepEqual(
        shown(rows).filter((one) => /^[abc]: /.test(one)),
        [line],
      )
    })

  const until = '2026-01-02T03:14:05.000Z'
  const operations: [change: Partial<AgentStatus>, line: RegExp][] = [
    [{ pause: { until: null, reason: null } }, /^Paused until an operator resumes$/],
    [{ pause: { until, reason: 'backup' } }, /^Paused until \S+ \(10m left\): backup$/],
    [
      { switchover: { what: 'switchover', to: 'c', state: 'refused', reason: 'no pod' } },
      /^Request for a switchover to c: refused: no pod$/,
    ],
  ]
  for (const [change, line] of operations)
    test(`prints ${line}`, () => {
      assert.ok(shown([changed(LEADER, change), STANDBY]).some((one) => line.test(one)))
    })
})

test("a replica's text cannot forge a line or a colour", () => {
  const lines = shown([LEADER, silent('c', 'x\n\u001b[31mAll is well')])
  assert.ok(lines.includes('c: x\\u000a\\u001b[31mAll is well'))
})

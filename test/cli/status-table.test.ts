import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Paint } from '../../agent/cli/output.ts'
import { overviewFrom } from '../../agent/cli/overview.ts'
import { type Look, statusTable } from '../../agent/cli/status-table.ts'
import type { AgentStatus, ReplicaRow } from '../../agent/observe/agent-status.ts'
import { FOLLOWING, fronted, SERVING, silent, TERM } from '../observe/replica.ts'
import { changed, LEADER, row, STANDBY } from './agents.ts'

const NOW = Date.parse('2026-01-02T03:04:05Z')

function shown(rows: readonly ReplicaRow[], look: Partial<Look> = {}): string[] {
  const overview = overviewFrom(rows)
  assert.ok(overview)
  return statusTable(overview, NOW, look).split('\n')
}

/** The cells under this head, from the top. */
function column(head: string, lines: readonly string[]): string[] {
  const heads = lines[2] ?? ''
  const from = heads.indexOf(head)
  assert.ok(from >= 0, `${head} is none of ${heads}`)
  const rows = lines.slice(3, lines.indexOf('', 3))
  return rows.map((line) => line.slice(from).split('  ', 1)[0] ?? '')
}

test('status is one table, with what the replicas have in common and the verdict below', () => {
  assert.deepEqual(shown([LEADER, STANDBY, silent('c', 'its agent does not run: ImagePullBackOff')]), [
    'Lease team/langflow-leader-lock: a leads since 2026-01-02T03:00:00Z (4m5s), epoch 7',
    '',
    'POD  NODE    ROLE      STATE      SINCE  STANDBY  TAKEOVER  KILL IN',
    'a    node-a  leader    serving    4m5s   -        -         13.3s',
    'b    node-b  follower  ready      1m30s  cold     yes       -',
    'c    -       unknown   no answer  -      -        -         -',
    '',
    'All replicas: epoch 7, revision 7d9c5b8f4, LangFlow 1.13.0',
    'c: its agent does not run: ImagePullBackOff',
    'One serves, and another could take over.',
    '',
  ])
})

describe('a column', () => {
  test('stands there for what differs, and is left out for what all have or nobody knows', () => {
    const lease = { ...FOLLOWING.lease, epoch: 6 }
    const other = { lease, revision: '5f', langflow: { ...FOLLOWING.langflow, version: '1.12.8' } }
    const lines = shown([LEADER, changed(STANDBY, { ...other, flowsDigest: '3f1c9a2b1c9d' })])
    assert.deepEqual(column('REVISION', lines), ['7d9c5b8f4', '5f'])
    assert.deepEqual(column('EPOCH', lines), ['7', '6'])
    assert.deepEqual(column('LANGFLOW', lines), ['1.13.0', '1.12.8'])
    assert.deepEqual(column('FLOWS', lines), ['-', '3f1c9a2b'])
    assert.ok(!lines.some((line) => line.startsWith('All replicas')))
  })

  test('of a wide table is always there, and in full', () => {
    const node = 'ip-10-0-1-23.eu-central-1.compute.internal'
    const flowsDigest = '3f1c9a2b1c9d'
    const lines = shown(
      [row('a', { ...SERVING, flowsDigest }, node), row('b', { ...FOLLOWING, flowsDigest })],
      { wide: true },
    )
    assert.deepEqual(column('NODE', lines), [node, 'node-b'])
    assert.deepEqual(column('FLOWS', lines), [flowsDigest, flowsDigest])
    assert.deepEqual(column('REVISION', lines), ['7d9c5b8f4', '7d9c5b8f4'])
  })

  const warm = { ...FOLLOWING.standby, wanted: 'warm', mode: 'warm', state: 'ready' } as const
  const standbys: [status: AgentStatus, cell: string][] = [
    [{ ...FOLLOWING, standby: warm }, 'warm'],
    [{ ...FOLLOWING, standby: { ...warm, state: 'preparing' } }, 'warm, preparing'],
    [{ ...FOLLOWING, standby: { ...warm, mode: 'cold' } }, 'cold, not warm'],
    [{ ...SERVING, standby: warm }, '-'],
  ]
  for (const [status, cell] of standbys)
    test(`says of a standby: ${cell}`, () => {
      assert.deepEqual(column('STANDBY', shown([row('a', status)])), [cell])
    })

  test('says of a follower whether it could take over, and once what', () => {
    const pause = { until: null, reason: null }
    const takeover = (change: Partial<AgentStatus>) =>
      column('TAKEOVER', shown([LEADER, changed(STANDBY, change)]))[1]
    assert.deepEqual(
      [takeover({}), takeover({ pause }), takeover({ pause, couldTakeOver: false })],
      ['yes', 'once resumed', 'no'],
    )
  })

  test('says since when a follower follows: its last term ended, or its pod began', () => {
    const term = { ...TERM, holder: 'b', ended: '2026-01-02T03:03:45Z' }
    const since = (change: Partial<AgentStatus>) =>
      column('SINCE', shown([LEADER, changed(STANDBY, change)]))[1]
    assert.equal(since({ history: [{ ...term, holder: 'a' }, term] }), '20s')
    assert.equal(since({ history: [term], podAgeMs: 5_000 }), '5s')
    assert.equal(since({ podAgeMs: null }), '-')
  })
})

describe('of fronts', () => {
  const busy = row('a', fronted(SERVING, { held: 12, oldestHeldMs: 812, inFlight: 3, streams: 1 }))

  test('it tells what each holds, has sent on and streams', () => {
    const lines = shown([busy, row('b', fronted(FOLLOWING, { streams: 2 }))])
    assert.deepEqual(column('HELD', lines), ['12, 0.8s', '0'])
    assert.deepEqual(column('IN FLIGHT', lines), ['3', '0'])
    assert.deepEqual(column('STREAMS', lines), ['1', '2'])
    assert.deepEqual(column('HELD', shown([busy, STANDBY], { wide: true })), ['12, 0.8s', '-'])
  })

  test('what is the same for all stands below', () => {
    const lines = shown([row('a', fronted(SERVING)), row('b', fronted(FOLLOWING))])
    assert.ok(
      lines.includes(
        'All replicas: epoch 7, revision 7d9c5b8f4, LangFlow 1.13.0, held 0, in flight 0, streams 0',
      ),
    )
  })

  test('there is no column where no replica has one', () => {
    assert.doesNotMatch(shown([LEADER, STANDBY], { wide: true }).join('\n'), /HELD|FLIGHT|STREAMS|held/)
  })

  test('one that does not listen is told of, with the reason where it is known', () => {
    const deaf = row('b', fronted(FOLLOWING, { listening: false }))
    const lines = shown([LEADER, deaf])
    assert.ok(lines.includes('b: its front does not listen yet'))
    assert.equal(lines.at(-2), 'Not as it should be: no client reaches the front of b.')
    const problem = 'its front cannot listen: port 8091 is taken'
    const told = shown([LEADER, changed(deaf, { problem })]).filter((line) => line.startsWith('b: '))
    assert.deepEqual(told, [`b: ${problem}`])
  })
})

test('with the names that pods and nodes commonly have it fits 120 columns, also in the middle of a rollout', () => {
  const rows = ['x2x7q', 'abcde', 'zzzzz'].map((end, i) =>
    row(
      `langflow-${i}d9c5b8f45-${end}`,
      {
        ...(i === 0 ? SERVING : FOLLOWING),
        revision: `${i}d9c5b8f45`,
        standby: { ...FOLLOWING.standby, wanted: 'warm' },
        couldTakeOver: i === 1,
      },
      `gke-prod-default-pool-1a2b3c4d-x7k${i}`,
    ),
  )
  const lines = shown(rows)
  assert.deepEqual(
    column('NODE', lines),
    [0, 1, 2].map((i) => `…l-1a2b3c4d-x7k${i}`),
  )
  assert.deepEqual(
    lines.slice(2, 6).filter((line) => line.length > 120),
    [],
  )
})

describe('below the table', () => {
  const below = (...rows: ReplicaRow[]) => {
    const lines = shown(rows)
    return lines.slice(lines.indexOf('', 3) + 1, -1)
  }

  test('it says once why one could not take over, and why its standby is colder than wanted', () => {
    const unable = 'its standby is being prepared'
    const standby = { ...FOLLOWING.standby, wanted: 'warm', reason: 'not enough memory' } as const
    const [, ...lines] = below(
      LEADER,
      changed(STANDBY, { couldTakeOver: false, unable, problem: unable, standby }),
    )
    assert.deepEqual(lines, [
      `b: could not take over: ${unable}`,
      'b: standby cold, not warm: not enough memory',
      'Not as it should be: no other could take over.',
    ])
  })

  const reason = 'the first start of revision 5f failed'
  const onTrial = (failed: 'workload_exited' | null) => ({ onTrial: { reason, failed } })
  const failed = { couldTakeOver: false, unable: reason, problem: reason, ...onTrial('workload_exited') }
  const notes: [rows: ReplicaRow[], line: string][] = [
    [[LEADER, changed(STANDBY, onTrial(null))], `b: ${reason}`],
    [[LEADER, changed(STANDBY, failed)], `b: could not take over: ${reason}`],
    [[changed(LEADER, { problem: 'no right to watch' }), STANDBY], 'a: no right to watch'],
  ]
  for (const [rows, line] of notes)
    test(`it says once: ${line}`, () => {
      assert.deepEqual(
        below(...rows).filter((one) => /^[abc]: /.test(one)),
        [line],
      )
    })

  const until = '2026-01-02T03:14:05.000Z'
  const operations: [change: Partial<AgentStatus>, line: RegExp][] = [
    [{ pause: { until: null, reason: null } }, /^Paused until somebody resumes$/],
    [{ pause: { until, reason: 'backup' } }, /^Paused until \S+ \(10m left\): backup$/],
    [{ switchover: { to: '*', state: 'under way', reason: null } }, /^Switchover to .* best: under way$/],
    [{ switchover: { to: 'c', state: 'refused', reason: 'no pod' } }, /^Switchover to c: refused: no pod$/],
  ]
  for (const [change, line] of operations)
    test(`it says ${line}`, () => {
      assert.ok(below(changed(LEADER, change), STANDBY).some((one) => line.test(one)))
    })
})

test('nothing that a replica tells can forge a line or a colour', () => {
  const lines = shown([LEADER, silent('c', 'x\n\u001b[31mAll is well')])
  assert.ok(lines.includes('c: x\\u000a\\u001b[31mAll is well'))
  const forged = changed(STANDBY, { revision: '1\n2' })
  assert.deepEqual(column('REVISION', shown([LEADER, forged])), ['7d9c5b8f4', '1\\u000a2'])
})

test('colours say what is well and what is not', () => {
  const paint: Paint = (style, text) => `<${style}>${text}</>`
  const text = shown([LEADER, changed(STANDBY, { couldTakeOver: false })], { paint }).join('\n')
  for (const part of ['<bold>leader</>', '<green>serving</>', '<yellow>no</>', '<red>Not as it should be: '])
    assert.ok(text.includes(part), text)
})

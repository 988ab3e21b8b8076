import assert from 'node:assert/strict'
import { test } from 'node:test'
import { textOf } from '../../agent/cli/output.ts'
import { overviewFrom } from '../../agent/cli/overview.ts'
import { historyTable, statusTable } from '../../agent/cli/status-table.ts'
import type { PastTerm } from '../../agent/lease/lease-history.ts'
import type { AgentStatus, ReplicaRow } from '../../agent/status/agent-status.ts'
import { FOLLOWING, fronted, SERVING, silent, TERM } from '../observe/replica.ts'
import { changed, LEADER, row, STANDBY } from './agents.ts'

const NOW = Date.parse('2026-01-02T03:04:05Z')
const REASON = 'the first start of revision 5f failed'
const FORGED = 'x\n\u001b[31mAll is well'

function page(rows: readonly ReplicaRow[], wide = false): string {
  return textOf(statusTable(overviewFrom(rows), NOW, wide))
}

test('status prints a table, and below it the requests, the problems of the replicas and the verdict', () => {
  const warm = { ...FOLLOWING.standby, wanted: 'warm' } as const
  const pause = { until: '2026-01-02T03:14:05.000Z', reason: 'backup' }
  const switchover = { what: 'switchover', to: 'c', state: 'refused', reason: 'no pod' } as const
  const rows = [
    changed(LEADER, { problem: 'no right to watch', pause, switchover }),
    changed(STANDBY, { standby: { ...warm, reason: 'not enough memory' }, pause }),
    silent('c', FORGED),
    row('d', {
      ...FOLLOWING,
      standby: { ...warm, mode: 'warm', state: 'preparing' },
      couldTakeOver: false,
      unable: REASON,
      problem: REASON,
    }),
    row('e', fronted(FOLLOWING, { listening: false })),
    row('f', { ...FOLLOWING, onTrial: { reason: 'on trial', failed: null } }),
  ]
  assert.equal(
    page(rows),
    `Lease team/langflow-leader-lock: a leads since 2026-01-02T03:00:00Z (4m5s), epoch 7

POD  ROLE      STATE      STANDBY          TAKEOVER      KILL IN  REVISION   AGE
a    leader    serving    -                -             13.3s    7d9c5b8f4  90s
b    follower  ready      cold, not warm   after resume  -        7d9c5b8f4  90s
c    unknown   no answer  -                -             -        -          -
d    follower  not ready  warm, preparing  no            -        7d9c5b8f4  90s
e    follower  ready      cold             yes           -        7d9c5b8f4  90s
f    follower  ready      cold             yes           -        7d9c5b8f4  90s

Paused until 2026-01-02T03:14:05.000Z (10m left): backup
Request for a switchover to c: refused: no pod
a: no right to watch
b: standby cold, not warm: not enough memory
c: x\\u000a\\u001b[31mAll is well
d: cannot take over: ${REASON}
e: its front does not listen yet
f: on trial
Not healthy: the front of e does not listen, so no client reaches it; takeovers are paused: end the pause with langflow-leader resume.
`,
  )
})

test('a healthy installation has no notes; a holder that does not report that it leads holds the Lease', () => {
  const lines = page([LEADER, STANDBY]).split('\n')
  assert.deepEqual(lines.slice(5), ['', 'One replica serves, and another can take over.', ''])
  assert.match(page([changed(LEADER, { role: 'follower' }), STANDBY]), /: a holds it since /)
})

test('a leader that waits for a quiet moment reports its requests and the time left', () => {
  const leadership = { ...SERVING.leadership, planned: { reason: FORGED, leftMs: 23_400 } }
  const busy = { ...fronted(SERVING, { inFlight: 2, streams: 0 }), leadership }
  assert.match(
    page([row('a', busy), STANDBY]),
    /^a: waiting for a quiet moment: 2 requests in flight, 24 s left: x\\u000a/m,
  )
})

test('a wide table also has versions, digests, fronts and nodes', () => {
  const busy: AgentStatus = fronted(SERVING, { held: 12, oldestHeldMs: 812, inFlight: 3, streams: 1 })
  const content = { digest: 'c2', ageMs: 90_000, running: 'c1', earlier: ['c1'], problem: null }
  const rows = [
    row('a', { ...busy, flowsDigest: '3f1c', content }),
    row('b', { ...FOLLOWING, content }),
    STANDBY,
  ]
  const [, , ...table] = page(rows, true).split('\n')
  assert.deepEqual(
    table.slice(0, 4).map((line) => line.replace(/^(\w+).*AGE|^(\w+).*90s {2}(?=\d)/, '$1$2')),
    [
      'POD  EPOCH  LANGFLOW  FLOWS  CONTENT            HELD       IN FLIGHT  STREAMS  NODE',
      'a7      1.13.0    3f1c   c2 (90s), runs c1  12, 812ms  3          1        node-a',
      'b7      1.13.0    -      c2 (90s)           -          -          -        node-b',
      'b7      1.13.0    -      -                  -          -          -        node-b',
    ],
  )
})

const LASTS: PastTerm = {
  ...TERM,
  epoch: 8,
  holder: 'langflow-1',
  began: '2026-01-02T03:00:00Z',
  phases: { detectMs: 12, acquireMs: 8.4, startMs: 960, healthyMs: 1_240 },
  gapMs: 2_220,
  consentMs: 62_000,
}
const VANISHED: PastTerm = {
  ...TERM,
  began: '2026-01-01T00:00:00Z',
  because: 'never_held',
  phases: { detectMs: 0, acquireMs: 5, startMs: null, healthyMs: null },
  gapMs: null,
  ended: '2026-01-02T03:00:00Z',
  endedBecause: null,
  stopMs: 80,
}

test('the history is a table, newest first', () => {
  assert.deepEqual(historyTable([LASTS, VANISHED], NOW), [
    'EPOCH  HOLDER      BEGAN                 LASTED  BECAUSE     DETECT  ACQUIRE  START  HEALTHY  NO SERVER  ENDED    STOP  BY CONSENT',
    '8      langflow-1  2026-01-02T03:00:00Z  4m5s    released    12ms    8ms      960ms  1.2s     2.2s       current  -     62s',
    '7      langflow-0  2026-01-01T00:00:00Z  1d3h    never_held  0s      5ms      -      -        -          unknown  80ms  -',
  ])
  assert.deepEqual(historyTable([], NOW), ['The Lease has no recorded term.'])
})

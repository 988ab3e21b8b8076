import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it, test } from 'node:test'
import { PAGE_POLICY, renderPage, verdictOf } from '../../../agent/observe/page/page.ts'
import { lasting, roughly, utc } from '../../../agent/observe/page/page-sections.ts'
import type { FrontView, ReplicaRow } from '../../../agent/status/agent-status.ts'
import { FOLLOWING, fronted, SERVING, silent, TERM } from '../replica.ts'
import { follows, leads } from './replicas.ts'

/** The visible text of a page, with a line for each block element. */
function textOf(page: string): string {
  return page
    .replace(/<(style|script)>[\s\S]*?<\/\1>/g, '')
    .replace(/<\/?(p|h\d|li|div|summary|header|section)\b[^>]*>/g, '\n')
    .replace(/<\/dt>/g, ' ')
    .replace(/<[^>]+>/g, ' ')
    .replace(/ +/g, ' ')
    .replace(/ ?\n[\n ]*/g, '\n')
    .replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))
}

function shows(rows: readonly ReplicaRow[], ...lines: (string | RegExp)[]): void {
  const text = textOf(renderPage(rows))
  for (const line of lines) {
    if (typeof line === 'string') assert.ok(text.split('\n').includes(line), `no line "${line}" in ${text}`)
    else assert.match(text, line)
  }
}

/** Replaces every string in a value, except those that the page compares with fixed words. */
function withEveryText<T>(value: T, text: string, key = ''): T {
  if (typeof value === 'string') return (['role', 'gate', 'now'].includes(key) ? value : text) as T
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((one) => withEveryText(one, text)) as T
  const entries = Object.entries(value).map(([key, one]) => [key, withEveryText(one, text, key)])
  return Object.fromEntries(entries) as T
}

const EVERYTHING: readonly ReplicaRow[] = [
  leads('langflow-0', {
    problem: 'x',
    unable: 'y',
    revision: 'r1',
    flowsDigest: 'f1',
    secretKeyDigest: 'k1',
    pause: { until: 'x', reason: 'x' },
    switchover: { what: 'switchover', to: 'x', state: 'refused', reason: 'x' },
    lastDrill: { at: 'x', result: 'ok' },
    history: [TERM, { ...TERM, epoch: 6, ended: '2026-01-02T02:04:05Z', endedBecause: 'expired' }],
    leadership: { doubt: false, killInMs: 13_250, steppingDown: 'x', coolDownMs: 2_000 },
  }),
  follows('langflow-1', {
    unable: 'x',
    couldTakeOver: false,
    revision: 'r2',
    flowsDigest: 'f2',
    secretKeyDigest: 'k2',
    traffic: fronted(FOLLOWING, { held: 1, failed: { cut: 1 } }).traffic,
  }),
  silent('langflow-2'),
]

describe('the page', () => {
  it('begins with the leader and the replicas that could take over', () => {
    const page = renderPage([leads('langflow-0'), follows('langflow-1'), silent('langflow-2')])
    const sentence = 'langflow-0 leads; langflow-1 can take over'
    assert.match(page, new RegExp(`<title>${sentence}</title>`))
    assert.ok(textOf(page).split('\n').includes(sentence))
    assert.match(page, /<header class="good">/)
  })

  it('shows how long the leader can continue without a renewal, and marks the time of the freeze', () => {
    const page = renderPage([follows('langflow-1'), leads('langflow-0')])
    assert.match(textOf(page), /\n13\.3 s until LangFlow is killed, unless the Lease is renewed/)
    assert.match(
      page,
      /<rect class="moving" width="94\.6" height="1"><animate attributeName="width" to="0" dur="13250ms" fill="freeze"\/>/,
    )
    assert.match(page, /<rect class="mark" x="28\.6"/)
    const margin = (killInMs: number) =>
      /class="margin (\w+)"/.exec(
        renderPage([leads('a', { leadership: { ...SERVING.leadership, killInMs } })]),
      )?.[1]
    assert.deepEqual([6_001, 6_000, 4_001, 4_000].map(margin), ['good', 'warning', 'warning', 'bad'])
    assert.doesNotMatch(renderPage([follows('langflow-1')]), /class="moving"/)
  })

  it('shows each replica with its state, why it could not take over, and its differences from the leader', () => {
    const unable = 'the launcher is missing'
    const content = { digest: 'c2', ageMs: 5_000, running: 'c1', earlier: [], problem: null }
    const more = { unable, problem: unable, couldTakeOver: false, flowsDigest: 'f2', secretKeyDigest: 'k2' }
    const standby = {
      ...FOLLOWING.standby,
      wanted: 'warm',
      state: 'preparing',
      reason: 'it ended (exit code 1)',
    } as const
    shows(
      [
        leads('langflow-0', { flowsDigest: 'f1', secretKeyDigest: 'k1', content }),
        follows('langflow-1', { ...more, standby, content: { ...content, digest: 'c1' } }),
        silent('langflow-2'),
      ],
      'langflow-0 this page',
      'leads',
      'LangFlow serves, 1.13.0',
      'Content c2',
      'cannot take over',
      'Cannot take over: the launcher is missing',
      'it ended (exit code 1)',
      'Standby cold, preparing, colder than warm',
      'Flows f2 differs from the leader’s',
      'Content c1 differs from the leader’s',
      'Secret key k2 differs from the leader’s',
      'no answer',
      'no answer on port 8090',
    )
  })

  it('shows the held requests of each front', () => {
    const traffic = (front: Partial<FrontView>) => fronted(SERVING, front).traffic
    const busy = { held: 12, oldestHeldMs: 812, inFlight: 3, streams: 1 }
    shows(
      [
        leads('langflow-0', { traffic: traffic(busy) }),
        follows('langflow-1', { traffic: traffic({}) }),
        follows('langflow-2', { traffic: traffic({ listening: false }) }),
      ],
      'Front 12 held, the longest for 812 ms, 3 in flight, streams: 1',
      'Front 0 held, 0 in flight, streams: 0',
      'Front does not listen',
    )
    assert.doesNotMatch(textOf(renderPage([leads('langflow-0')])), /Front/)
  })

  it('shows the problems of all replicas at the top, except for the reasons against a takeover', () => {
    const problem = 'forbidden: leases "x" may not be updated'
    shows([leads('langflow-0'), follows('langflow-1', { problem })], `langflow-1 ${problem}`)
    const unable = renderPage([leads('langflow-0'), follows('langflow-1', { problem, unable: problem })])
    assert.doesNotMatch(unable, /class="notice bad"><b>/)
  })

  it('shows the pause, switchover and drill of the leader’s status', () => {
    const asked = (more: Parameters<typeof leads>[1]) => [
      follows('langflow-1', { pause: { until: null, reason: 'stale' } }),
      leads('langflow-0', more),
    ]
    const pause = { until: '2026-01-02T03:34:05.678Z', reason: 'the database is upgraded' }
    shows(
      asked({ pause }),
      'Paused for 30 min more, until 2026-01-02 03:34:05 UTC: no takeover starts the database is upgraded',
    )
    shows(
      asked({ pause: { until: null, reason: null } }),
      'Paused until an operator resumes: no takeover starts',
    )
    const switchover = { what: 'switchover', to: 'langflow-1', state: 'under way', reason: null } as const
    shows(asked({ switchover }), 'Request for a switchover to langflow-1: under way')
    shows(
      asked({ switchover: { what: 'switchover', to: '*', state: 'refused', reason: 'it is paused' } }),
      'Request for a switchover to the best prepared replica: refused it is paused',
    )
    const leadership = { ...SERVING.leadership, steppingDown: 'SIGTERM' }
    shows(asked({ leadership }), 'The leader steps down SIGTERM')
    shows(
      [leads('langflow-0', { lastDrill: { at: '2026-01-01T03:04:05Z', result: 'missed' } })],
      'Last drill: missed, 1 d ago (2026-01-01 03:04:05 UTC)',
    )
  })

  it('shows the last terms with the reasons of their beginning and end, their phases and the time without a server', () => {
    const ended = { ...TERM, epoch: 6, began: '2026-01-02T01:04:05Z', ended: '2026-01-02T02:04:03Z' }
    const never = { ...TERM.phases, startMs: null, healthyMs: null }
    const history = [
      TERM,
      { ...ended, endedBecause: 'expired' as const },
      { ...ended, epoch: 5, phases: never, gapMs: null, endedBecause: 'start_refused' as const, stopMs: 84 },
    ]
    shows(
      [leads('langflow-0', { history })],
      'langflow-0 epoch 7',
      '2026-01-02 02:04:05 UTC , for 1 h, until now',
      'Began: released.',
      '1.73 s without a server. detect 3 ms, acquire 14 ms, start 1.21 s, healthy 290 ms',
      '2026-01-02 01:04:05 UTC , for 59 min 58 s',
      'Began: released. Ended: expired.',
      'Began: released. Ended: start refused, stopped within 84 ms.',
      'detect 3 ms, acquire 14 ms; it never served',
    )
  })

  it('shows the last ten terms and the total number', () => {
    const history = Array.from({ length: 50 }, (_, n) => ({ ...TERM, epoch: 50 - n }))
    shows(
      [leads('langflow-0', { history })],
      'langflow-0 epoch 41',
      'Shown: 10 of 50; langflow-leader history shows all.',
    )
  })

  it('escapes markup in every text', () => {
    const hostile = `</style></td><script>alert("x")</script><img src='x' onerror=alert(1)>&amp;" autofocus onfocus='x\u0000\u001b\u202e\u2066`
    const rows = EVERYTHING.map((row) => withEveryText(row, hostile))
    const page = renderPage(rows)
    assert.doesNotMatch(page.replaceAll('\n', ''), /\p{C}/u)
    assert.doesNotMatch(page, /<script>alert|<img|alert\("| onfocus='/)
    assert.deepEqual(page.match(/<\/(style|script)>/g), ['</style>', '</script>'])
    const escaped = hostile.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`).split('\u0000', 1)[0]!
    const shown = page.split(escaped).length - 1
    assert.ok(shown > 20, `the page shows ${shown} of the hostile texts`)
  })

  it('has a policy with the hashes of its style sheet and its script', () => {
    const page = renderPage([leads('langflow-0')])
    for (const name of ['style', 'script']) {
      const text = new RegExp(`<${name}>([\\s\\S]*)</${name}>`).exec(page)?.[1] ?? ''
      const hash = createHash('sha256').update(text).digest('base64')
      assert.ok(PAGE_POLICY.includes(`${name}-src 'sha256-${hash}'`), name)
    }
  })

  it('closes every element that it opens, and has no duplicate id', () => {
    const page = renderPage(EVERYTHING).replace(/<(style|script)>[\s\S]*?<\/\1>/g, '')
    const open: string[] = []
    for (const [tag, closing, name] of page.matchAll(/<(\/?)([a-z]\w*)[^>]*>/g)) {
      if (name === 'meta' || tag.endsWith('/>')) continue
      if (closing) assert.equal(open.pop(), name)
      else open.push(name!)
    }
    assert.deepEqual(open, [])
    const ids = [...page.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id)
    assert.deepEqual(ids, [...new Set(ids)])
  })
})

const CLOSED = { ...SERVING.traffic, gate: 'closed' } as const
const OPEN_LEASE = { ...SERVING.lease, holder: '', self: false }
const inLeadership = (more: object) => ({ leadership: { ...SERVING.leadership, ...more } })
const [A, B, C] = ['langflow-0', 'langflow-1', 'langflow-2'] as const

const CASES: [level: string, sentence: string, rows: ReplicaRow[]][] = [
  ['good', `${A} leads; ${B} can take over`, [leads(A), follows(B)]],
  ['good', `${A} leads; ${B} and ${C} can take over`, [follows(B), leads(A), follows(C)]],
  [
    'warning',
    `${A} leads; no other replica can take over`,
    [leads(A), follows(B, { couldTakeOver: false }), silent(C)],
  ],
  ['warning', `${A} leads; there is no second replica to take over`, [leads(A)]],
  [
    'warning',
    `${A} leads and is starting LangFlow; ${B} can take over`,
    [leads(A, { traffic: CLOSED, workload: { ...SERVING.workload, servedSince: null } }), follows(B)],
  ],
  [
    'warning',
    `${A} leads and does not serve; ${B} can take over`,
    [leads(A, { traffic: CLOSED }), follows(B)],
  ],
  [
    'warning',
    `${A} is stepping down; ${B} can take over`,
    [leads(A, inLeadership({ steppingDown: 'SIGTERM' })), follows(B)],
  ],
  [
    'bad',
    `${A} may have lost the Lease; ${B} can take over`,
    [leads(A, inLeadership({ doubt: true })), follows(B)],
  ],
  [
    'warning',
    `${A} leads; takeovers are paused`,
    [follows(B), leads(A, { pause: { until: null, reason: null } })],
  ],
  ['bad', `2 replicas report that they lead: ${A} and ${B}`, [leads(A), leads(B), follows(C)]],
  ['bad', `No replica leads; ${B} can take over`, [follows(B, { lease: OPEN_LEASE }), silent(C)]],
  ['warning', `${A} holds the Lease; ${B} can take over`, [follows(B)]],
  ['warning', `${A} holds the Lease; ${B} can take over`, [follows(B), silent(A)]],
]

describe('the verdict on all replicas', () => {
  for (const [level, sentence, rows] of CASES) {
    it(`is ${level}: ${sentence}`, () => {
      const verdict = verdictOf(rows)
      assert.deepEqual([verdict.level, verdict.sentence], [level, sentence])
    })
  }
})

test('durations have at most two units', () => {
  const told = [0, 84.4, 999.4, 1_000, 1_844, 12_340, 60_000, 200_900, 7_500_000, 187_200_000].map(lasting)
  assert.deepEqual(told, [
    '0 ms',
    '84 ms',
    '999 ms',
    '1.00 s',
    '1.84 s',
    '12.3 s',
    '1 min',
    '3 min 20 s',
    '2 h 5 min',
    '2 d 4 h',
  ])
  assert.deepEqual([-5, 1_999, 59_999, 60_000].map(roughly), ['0 s', '1 s', '59 s', '1 min'])
})

test('an invalid time is shown unchanged', () => {
  assert.equal(utc('2026-01-02T03:04:05.678Z'), '2026-01-02 03:04:05 UTC')
  assert.equal(utc('soon'), 'soon')
})

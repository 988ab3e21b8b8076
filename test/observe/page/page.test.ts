import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import { ENDED_BECAUSE } from '../../../agent/lease/reasons.ts'
import { PAGE_POLICY, renderPage } from '../../../agent/observe/page/page.ts'
import type { FrontView, ReplicaRow } from '../../../agent/observe/status.ts'
import { FOLLOWING, fronted, NEW_FRONT, SERVING, silent, TERM } from '../replica.ts'
import { follows, leads } from './replicas.ts'

/** What a reader sees of it: one line for each element that begins one. */
function textOf(page: string): string {
  return page
    .replace(/<(style|script)>[\s\S]*?<\/\1>/g, '')
    .replace(/<\/?(p|h\d|li|div|summary|header|section)\b[^>]*>/g, '\n')
    .replace(/<\/dt>/g, ' ')
    .replace(/<[^>]+>/g, ' ')
    .replace(/ +/g, ' ')
    .replace(/ ?\n[\n ]*/g, '\n')
    .replaceAll('&#39;', "'")
    .replaceAll('&quot;', '"')
}

function shows(rows: readonly ReplicaRow[], ...lines: (string | RegExp)[]): void {
  const text = textOf(renderPage(rows))
  for (const line of lines) {
    if (typeof line === 'string') assert.ok(text.split('\n').includes(line), `no line "${line}" in ${text}`)
    else assert.match(text, line)
  }
}

/** The same with every text in it replaced, but what is compared with a fixed word. */
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
    switchover: { to: 'x', state: 'refused', reason: 'x' },
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
  it('tells first who leads and who could take over', () => {
    const page = renderPage([leads('langflow-0'), follows('langflow-1'), silent('langflow-2')])
    const sentence = 'langflow-0 leads; langflow-1 could take over'
    assert.match(page, new RegExp(`<title>${sentence}</title>`))
    assert.match(page, /<h1 id="verdict" aria-live="polite" aria-atomic="true">/)
    assert.ok(textOf(page).split('\n').includes(sentence))
    assert.match(page, /<header class="good">/)
  })

  it('shows how long the leader may go on without a renewal, and where it is frozen', () => {
    const page = renderPage([follows('langflow-1'), leads('langflow-0')])
    assert.match(textOf(page), /\n13\.3 s until LangFlow is killed, unless the Lease is renewed/)
    assert.match(page, /<rect id="left" data-left="13250" width="94\.6" height="1"\/>/)
    assert.match(page, /<rect class="mark" x="28\.6"/)
    const margin = (killInMs: number) =>
      /class="margin (\w+)"/.exec(
        renderPage([leads('a', { leadership: { ...SERVING.leadership, killInMs } })]),
      )?.[1]
    assert.deepEqual([6_001, 6_000, 4_001, 4_000].map(margin), ['good', 'warning', 'warning', 'bad'])
    assert.doesNotMatch(renderPage([follows('langflow-1')]), /id="left"/)
  })

  it('shows each replica: what it does, why it could not take over, and what differs from the leader', () => {
    const unable = 'the launcher is missing'
    const more = { unable, problem: unable, couldTakeOver: false, flowsDigest: 'f2', secretKeyDigest: 'k2' }
    const standby = {
      ...FOLLOWING.standby,
      wanted: 'warm',
      state: 'preparing',
      reason: 'it ended (exit code 1)',
    } as const
    shows(
      [
        leads('langflow-0', { flowsDigest: 'f1', secretKeyDigest: 'k1' }),
        follows('langflow-1', { ...more, standby }),
        silent('langflow-2'),
      ],
      'langflow-0 this page',
      'leads',
      'Decision holding the Lease in epoch 7, 13.2 s left',
      'LangFlow serves, 1.13.0',
      'could not take over',
      'Cannot take over: the launcher is missing',
      'it ended (exit code 1)',
      'Standby cold, preparing, colder than warm',
      'Flows f2 not the leader’s',
      /^Its LANGFLOW_SECRET_KEY is not the leader’s/m,
      'no answer',
      'no answer on port 8090',
    )
  })

  it('shows what the front of each replica holds, and what has become of requests', () => {
    const traffic = (front: Partial<FrontView>) => fronted(SERVING, front).traffic
    const busy = {
      ...{ held: 12, oldestHeldMs: 812, inFlight: 3, streams: 1, streamsEnded: 4 },
      forwarded: { langflow: 100, leader: 7 },
      failed: { ...NEW_FRONT.failed, outcome_unknown: 2, novel: 1 },
    }
    shows(
      [
        leads('langflow-0', { traffic: traffic(busy) }),
        follows('langflow-1', { traffic: traffic({}) }),
        follows('langflow-2', { traffic: traffic({ listening: false }) }),
      ],
      'Front 12 held, the longest for 812 ms, 3 in flight, 1 stream',
      'Forwarded 100 to LangFlow, 7 to the leader',
      'Failed 2 with an unknown outcome, 1 novel',
      'Streams ended 4',
      'Memory of the front 86 MiB',
      'Front 0 held, 0 in flight, 0 streams',
      'Front does not listen',
    )
    assert.doesNotMatch(textOf(renderPage([leads('langflow-0')])), /Front|Forwarded/)
  })

  it('shows a problem of any replica on top, but for what keeps one from taking over', () => {
    const problem = 'forbidden: leases "x" may not be updated'
    shows([leads('langflow-0'), follows('langflow-1', { problem })], `langflow-1 ${problem}`)
    const unable = renderPage([leads('langflow-0'), follows('langflow-1', { problem, unable: problem })])
    assert.doesNotMatch(unable, /class="notice bad"><b>/)
  })

  it('shows what operators asked for, as the leader tells it', () => {
    const asked = (more: Parameters<typeof leads>[1]) => [
      follows('langflow-1', { pause: { until: null, reason: 'stale' } }),
      leads('langflow-0', more),
    ]
    const pause = { until: '2026-01-02T03:34:05.678Z', reason: 'the database is upgraded' }
    shows(
      asked({ pause }),
      'Paused for 30 min more, until 2026-01-02 03:34:05 UTC: no takeover starts Reason: the database is upgraded',
    )
    shows(
      asked({ pause: { until: null, reason: null } }),
      'Paused until somebody resumes: no takeover starts',
    )
    const switchover = { to: 'langflow-1', state: 'under way', reason: null } as const
    shows(asked({ switchover }), 'A switchover to langflow-1 is under way')
    shows(
      asked({ switchover: { to: '*', state: 'refused', reason: 'it is paused' } }),
      'The switchover to whoever is prepared best was refused it is paused',
    )
    const leadership = { ...SERVING.leadership, steppingDown: 'SIGTERM' }
    shows(asked({ leadership }), 'The leader steps down SIGTERM')
    shows(
      [leads('langflow-0', { lastDrill: { at: '2026-01-01T03:04:05Z', result: 'missed' } })],
      'Last drill: missed, 1 d ago (2026-01-01 03:04:05 UTC)',
    )
  })

  it('shows the last terms with why they began and ended, their phases and the time without a server', () => {
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
      'Began: the Lease was released.',
      '1.73 s without a server. detect 3 ms, acquire 14 ms, start 1.21 s, healthy 290 ms',
      '2026-01-02 01:04:05 UTC , for 59 min 58 s',
      'Began: the Lease was released. Ended: it vanished.',
      'Began: the Lease was released. Ended: LangFlow could not be started, and it was stopped within 84 ms.',
      'detect 3 ms, acquire 14 ms; it never served',
    )
    shows([leads('langflow-0')], 'The Lease remembers none yet.')
  })

  it('shows a reason of a later version as its code, and folds what is long ago', () => {
    const novel = { ...TERM, because: 'novel', endedBecause: 'quite_novel', ended: TERM.began } as never
    shows([leads('langflow-0', { history: [novel] })], 'Began: novel. Ended: quite_novel.')
    const history = Array.from({ length: 50 }, (_, n) => ({ ...TERM, epoch: 50 - n }))
    shows([leads('langflow-0', { history })], '44 earlier terms')
    for (const endedBecause of ENDED_BECAUSE) {
      const [, why] = /Ended: (.+)\./.exec(
        textOf(renderPage([leads('a', { history: [{ ...TERM, ended: TERM.began, endedBecause }] })])),
      )!
      assert.match(why ?? '', /^[^_]+ [^_]+$/)
    }
  })

  it('shows markup in any text as text', () => {
    const hostile = `</style></td><script>alert("x")</script><img src='x' onerror=alert(1)>&amp;" autofocus onfocus='x\u0000\u001b\u202e\u2066`
    const rows = EVERYTHING.map((row) => withEveryText(row, hostile))
    const page = renderPage(rows)
    assert.doesNotMatch(page.replaceAll('\n', ''), /\p{C}/u)
    assert.doesNotMatch(page, /<script>alert|<img|alert\("| onfocus='/)
    assert.deepEqual(page.match(/<\/(style|script)>/g), ['</style>', '</script>'])
    const shown = page.match(
      /&lt;\/style&gt;&lt;\/td&gt;&lt;script&gt;alert\(&quot;x&quot;\)&lt;\/script&gt;&lt;img src=&#39;x&#39; onerror=alert\(1\)&gt;&amp;amp;&quot; autofocus/g,
    )
    assert.ok(shown!.length > 40, `${shown!.length}`)
  })

  it('has the very style sheet and the very script that its policy names', () => {
    const page = renderPage([leads('langflow-0')])
    for (const name of ['style', 'script']) {
      const text = new RegExp(`<${name}>([\\s\\S]*)</${name}>`).exec(page)?.[1] ?? ''
      const hash = createHash('sha256').update(text).digest('base64')
      assert.ok(PAGE_POLICY.includes(`${name}-src 'sha256-${hash}'`), name)
    }
  })

  it('closes every element that it opens, and names each one once', () => {
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

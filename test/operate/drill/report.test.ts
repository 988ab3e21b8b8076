import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { claim, htmlOf } from '../../../agent/operate/drill/html.ts'
import { keep, withReport } from '../../../agent/operate/drill/keep.ts'
import { markdownOf } from '../../../agent/operate/drill/markdown.ts'
import type { Probe } from '../../../agent/operate/drill/measure.ts'
import { judge, type Played, type Report } from '../../../agent/operate/drill/report.ts'
import { fixedAccess, objectsFor, reply, ScriptedServer, status } from '../../kube/scripted-server.ts'

const PLAYED: Played = {
  scenario: 'switchover',
  result: 'ok',
  problem: null,
  did: 'asked langflow-0 to hand over to whoever is prepared best',
  from: 'langflow-0',
  to: 'langflow-1',
  epochBefore: 7,
  epochAfter: 8,
  faultMs: 3_000,
  span: { fromMs: 0, toMs: 10_000 },
  wellAgainMs: 4_500,
  fronts: null,
  measured: {
    requests: 50,
    failed: 2,
    problems: [{ problem: 'status 503', times: 2 }],
    longestWaitMs: 310,
    rtoMs: 900,
    outage: { fromMs: 3_100, toMs: 4_000 },
  },
  rpoRows: 0,
  terms: [
    {
      epoch: 7,
      holder: 'langflow-0',
      began: '2026-01-02T03:00:00Z',
      because: 'never_held',
      phases: { detectMs: 0, acquireMs: 1, startMs: 2, healthyMs: 3 },
      gapMs: null,
      ended: '2026-01-02T03:04:05Z',
      endedBecause: 'switchover',
      stopMs: 120,
    },
    {
      epoch: 8,
      holder: 'langflow-1',
      began: '2026-01-02T03:04:05Z',
      because: 'released',
      phases: { detectMs: 4, acquireMs: 12, startMs: 40, healthyMs: 1_200 },
      gapMs: 880,
      ended: null,
      endedBecause: null,
      stopMs: null,
    },
  ],
  moments: [{ atMs: 3_000, what: 'asked langflow-0 to hand over to whoever is prepared best' }],
}

const REPORT: Report = {
  namespace: 'team',
  lease: 'langflow-leader-lock',
  began: '2026-01-02T03:04:00.123Z',
  ended: '2026-01-02T03:04:12.000Z',
  result: 'ok',
  probe: 'POST http://langflow:7860/api/v1/run/echo?stream=false',
  perSecond: 5,
  limits: { rtoMs: 30_000, rpoRows: 0 },
  scenarios: [PLAYED],
  skipped: [],
  notes: ['The messages of the drill are deleted.'],
}

const PROBES: Probe[] = [
  { number: 1, sentMs: 100, endedMs: 120, problem: null },
  { number: 2, sentMs: 3_200, endedMs: 3_210, problem: 'status 503' },
  { number: 3, sentMs: 20_000, endedMs: 20_010, problem: 'of another scenario' },
]

describe('the verdict', () => {
  const limits = { rtoMs: 1_000, rpoRows: 1 }
  const cases: [rtoMs: number | null, rpoRows: number | null, result: string, problem: string | null][] = [
    [1_000, 1, 'ok', null],
    [1_001, null, 'missed', 'nobody was served for 1.0 s, which is longer than 1.0 s'],
    [500, 2, 'missed', '2 rows that had been acknowledged are missing'],
    [
      2_000,
      2,
      'missed',
      'nobody was served for 2.0 s, which is longer than 1.0 s; 2 rows that had been acknowledged are missing',
    ],
    [null, 0, 'failed', 'no good answer came any more'],
  ]
  for (const [rtoMs, rpoRows, result, problem] of cases)
    test(`of RTO ${rtoMs} ms and RPO ${rpoRows} is ${result}`, () =>
      assert.deepEqual(judge(limits, { rtoMs, failed: 1 }, rpoRows, false), { result, problem }))

  test('of requests that failed where fronts were to hold them is missed', () => {
    const judged = (failed: number) => judge(limits, { rtoMs: 500, failed }, 0, true)
    assert.equal(judged(0).result, 'ok')
    assert.deepEqual(judged(1), {
      result: 'missed',
      problem: '1 request failed, and in a planned takeover the fronts hold each',
    })
    assert.match(judged(2).problem ?? '', /^2 requests failed,/)
  })
})

test('what was interrupted is called so', () => {
  const report: Report = { ...REPORT, result: 'interrupted' }
  assert.ok(markdownOf(report).startsWith('# Drill of 2026-01-02: interrupted\n'))
  assert.ok(
    htmlOf(report, PROBES).includes('<span class="interrupted">■</span> Drill of 2026-01-02: interrupted'),
  )
})

describe('the file of a report', () => {
  const dir = mkdtempSync(join(tmpdir(), 'report-'))
  after(() => rmSync(dir, { recursive: true }))
  const file = join(dir, 'drill.html')
  const drilled = (report: Report | null) => {
    using claimed = claim(file)
    if (report !== null) claimed.write(report, PROBES)
  }

  test('is not left where a drill ends without a report', () => {
    drilled(null)
    assert.deepEqual(readdirSync(dir), [])
  })

  test('keeps what it had there', () => {
    writeFileSync(file, 'of last month')
    drilled(null)
    assert.equal(readFileSync(file, 'utf8'), 'of last month')
  })

  test('has the report, and nothing of the one before', () => {
    writeFileSync(file, 'x'.repeat(1_000_000))
    drilled(REPORT)
    assert.equal(readFileSync(file, 'utf8'), htmlOf(REPORT, PROBES))
    rmSync(file)
    drilled(REPORT)
    assert.equal(readFileSync(file, 'utf8'), htmlOf(REPORT, PROBES))
  })

  test('is refused before the drill where it cannot be written', () => {
    assert.throws(() => claim(dir), { message: /^cannot write the report to .*: EISDIR/ })
  })
})

describe('in Markdown', () => {
  const text = markdownOf(REPORT)

  test('a verdict, a table and each phase', () => {
    assert.ok(text.startsWith('# Drill of 2026-01-02: passed\n'))
    for (const line of [
      '| switchover | passed | 900 ms | 0 rows | 2 of 50 | 310 ms | 4.5 s |',
      '- Term 7 of langflow-0 ended (switchover): stop 120 ms',
      '- Term 8 of langflow-1 began (released): detect 4 ms, acquire 12 ms, start 40 ms, healthy 1.2 s; nobody served for 880 ms',
      '- +0 ms: asked langflow-0 to hand over to whoever is prepared best',
      'Failed requests: 2 × status 503.',
      '- The messages of the drill are deleted.',
    ])
      assert.ok(text.includes(`\n${line}\n`), line)
    assert.ok(text.includes('Allowed: 30.0 s without an answer (RTO), 0 rows lost (RPO).'))
  })

  test('what was seen at the fronts', () => {
    const fronts = { held: { requests: 12, longestMs: 812 }, streamsEnded: 1 }
    const report = { ...REPORT, scenarios: [{ ...PLAYED, fronts }] }
    const line =
      'up to 12 requests at a time were seen to wait at the fronts, the longest for 0.8 s; 1 stream was ended'
    assert.ok(markdownOf(report).includes(`\n- ${line}\n`))
    assert.ok(htmlOf(report, PROBES).includes(`<li>${line}</li>`))
  })

  test('what was not measured, and what was not played', () => {
    const other = markdownOf({
      ...REPORT,
      result: 'failed',
      limits: { rtoMs: 1_000, rpoRows: null },
      scenarios: [
        { ...PLAYED, result: 'failed', problem: 'no | answer *at all*', rpoRows: null, wellAgainMs: null },
      ],
      skipped: ['delete-pod'],
    })
    assert.ok(
      other.includes('| switchover | failed | 900 ms | not measured | 2 of 50 | 310 ms | not in time |'),
    )
    assert.ok(other.includes('**failed: no \\| answer \\*at all\\*.**'))
    assert.ok(other.includes('Not played: delete-pod.'))
  })
})

test('in Markdown of a drill that was refused: what it asked for is no matter', () => {
  const text = markdownOf({ ...REPORT, result: 'failed', scenarios: [], skipped: ['switchover'] })
  assert.equal(
    text,
    '# Drill of 2026-01-02: failed\n\nLease `team/langflow-leader-lock`, at 2026-01-02T03:04:00.123Z.\n\n' +
      'Not played: switchover.\n\n- The messages of the drill are deleted.\n',
  )
})

describe('in HTML', () => {
  const page = htmlOf({ ...REPORT, notes: ['<script>alert(1)</script>'] }, PROBES)

  test('nothing runs and nothing is loaded: only its own style is allowed', () => {
    const [, style = ''] = /<style>([\s\S]*)<\/style>/.exec(page) ?? []
    const hash = createHash('sha256').update(style).digest('base64')
    assert.ok(page.includes(`content="default-src 'none'; style-src 'sha256-${hash}'"`))
    assert.doesNotMatch(page, /<script|<link|<img|\sstyle=|\son\w+=|url\((?!#)|@import/)
    assert.ok(page.includes('&lt;script&gt;alert(1)&lt;/script&gt;'))
  })

  test('each request of the scenario is in the time line, told apart by its shape', () => {
    assert.equal(page.match(/<circle class="answer"/g)?.length, 1)
    assert.equal(page.match(/<path class="failure"/g)?.length, 1)
    assert.ok(page.includes('aria-label="Time line of switchover: 50 requests, 2 of which failed;'))
    assert.ok(page.includes('<title>RTO: 900 ms</title>'))
  })

  test('a verdict has a sign beside its colour, and the dark and the printed page their own', () => {
    assert.ok(page.includes('<td class="verdict ok">✓ passed</td>'))
    assert.match(page, /@media \(prefers-color-scheme: dark\)/)
    assert.match(page, /@media print/)
  })
})

describe('a ConfigMap', () => {
  const at = (month: number) => ({
    ...REPORT,
    began: `20${20 + Math.floor(month / 12)}-${String((month % 12) + 1).padStart(2, '0')}-01T09:00:00.000Z`,
  })

  test('keeps the last twelve reports, as Markdown and as JSON, and what somebody else wrote', () => {
    let data: Record<string, string> = { note: 'ours' }
    for (let month = 0; month < 14; month++) data = withReport(data, at(month))
    const keys = Object.keys(data).sort()
    assert.equal(keys.length, 25)
    assert.deepEqual(keys.slice(0, 2), ['2020-03-01T09-00-00Z.json', '2020-03-01T09-00-00Z.md'])
    assert.deepEqual(JSON.parse(data['2021-02-01T09-00-00Z.json'] ?? ''), at(13))
    assert.equal(data['2021-02-01T09-00-00Z.md'], markdownOf(at(13)))
    assert.equal(data.note, 'ours')
    for (const key of keys) assert.match(key, /^[-._a-zA-Z0-9]+$/)
  })

  test('takes no more than fits into one', () => {
    const long = (month: number) => ({ ...at(month), notes: ['x'.repeat(100_000)] })
    let data: Record<string, string> = {}
    for (let month = 0; month < 14; month++) data = withReport(data, long(month))
    assert.ok(Buffer.byteLength(JSON.stringify(data)) < 2 ** 20)
    assert.ok('2021-02-01T09-00-00Z.json' in data)
  })

  test('is read again where somebody else has written it meanwhile', async () => {
    let version = 1
    let answers = 0
    await using server = await ScriptedServer.start(({ method, body }, response) => {
      const metadata = { name: 'drills', uid: 'u', resourceVersion: String(version) }
      if (method === 'GET') return reply(response, 200, { metadata, data: { note: String(version) } })
      if (answers++ === 0) {
        version = 2
        return reply(response, 409, status(409, 'Conflict'))
      }
      reply(response, 200, JSON.parse(body))
    })
    using objects = objectsFor(fixedAccess(server.url))
    await keep(objects, 'drills', REPORT)
    const written = JSON.parse(server.requests.at(-1)?.body ?? '')
    assert.equal(server.requests.at(-1)?.url.pathname, '/api/v1/namespaces/ns/configmaps/drills')
    assert.deepEqual([written.metadata.resourceVersion, written.data.note], ['2', '2'])
    assert.deepEqual(Object.keys(written.data).sort(), [
      '2026-01-02T03-04-00Z.json',
      '2026-01-02T03-04-00Z.md',
      'note',
    ])
  })
})

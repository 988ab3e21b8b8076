import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { stringify } from 'yaml'
import { hasPrometheus } from '../harness/prometheus.ts'
import { PROMETHEUS_RULE, prometheusRule } from './prometheus-rule.ts'
import { RULES, rules } from './queries.ts'

const run = promisify(execFile)
const DOCS = join(import.meta.dirname, '../../docs')
const read = (page: string) => readFileSync(join(DOCS, page), 'utf8')
const missing = hasPrometheus() ? false : 'SKIPPED: install prometheus (with promtool) to test the alerts'
if (missing) console.error(missing)

const alerts = new Map(rules().flatMap((rule) => (rule.alert === undefined ? [] : [[rule.alert, rule]])))

/**
 * Values in Prometheus' own notation, each 15 s, by metric and pod: two LangFlows in `flows`, of the pods a and b and of
 * the pod x, and one in `others`. All is well with each of them.
 */
const STEADY: Readonly<Record<string, string>> = {
  'leader_election_master_status a': '1+0x800',
  'leader_election_master_status b': '0+0x800',
  'build_info a': '1+0x800',
  'build_info b': '1+0x800',
  'gate_open a': '1+0x800',
  'gate_open b': '0+0x800',
  'peers_ready a': '1+0x800',
  'could_take_over a': '0+0x800',
  'could_take_over b': '1+0x800',
  'paused a': '0+0x800',
  'paused b': '0+0x800',
  'standby_colder b': '0+0x800',
  'kill_deadline_seconds a': '12 13 14 12+0x800',
  'configured_seconds{setting="lease_duration"} a': '15+0x800',
  'doubt_seconds_total a': '7+0x800',
  'lease_epoch a': '4+0x800',
  'lease_epoch b': '0 4+0x800',
  'restarts_total{reason="workload_exited"} a': '2+0x800',
  'deadman_firings_total a': '1+0x800',
  'stop_failed a': '0+0x800',
  'grant_refused b': '0+0x800',
  'langflow_outdated b': '0+0x800',
  'problem b': '0+0x800',
  'last_drill_timestamp_seconds a': '0+0x800',
  'last_drill_ok a': '1+0x800',
  'front_up a': '1+0x800',
  'front_up b': '1+0x800',
  // A takeover in which some wait at one scrape.
  'front_held a': '0+0x20 12 0+0x800',
  'front_held b': '0+0x20 3 0+0x800',
  'front_failed_total{reason="outcome_unknown"} a': '0+0x20 8+0x800',
  'front_failed_total{reason="client_gone"} b': '0+5x800',
  // Another program that elects, in the same pod.
  'leader_election_master_status{name="another"} b:9090': '1+0x800',
  ...others('x'),
  ...others('y'),
}

/** Of another LangFlow, of which more is not looked at. */
function others(pod: string): Record<string, string> {
  return {
    [`leader_election_master_status ${pod}`]: '1+0x800',
    [`build_info ${pod}`]: '1+0x800',
    [`gate_open ${pod}`]: '1+0x800',
  }
}

interface Case {
  /** What differs from `STEADY`, as there. */
  readonly series: Readonly<Record<string, string>>
  /** When it does not fire yet, and when it does. */
  readonly quiet: string
  readonly fires: string
  readonly labels: Readonly<Record<string, string>>
  readonly summary: string
}

const ONE = { namespace: 'flows', lease: 'one' }
/** The labels of all that is scraped from a pod, or from a port of it. */
function targetOf(target: string) {
  const [pod, port = '8090'] = target.split(':') as [string, string?]
  return { namespace: pod === 'y' ? 'others' : 'flows', pod, job: 'pods', instance: `${pod}:${port}` }
}
const all = (series: RegExp, values: string) =>
  Object.fromEntries(
    Object.keys(STEADY)
      .filter((one) => series.test(one))
      .map((one) => [one, values]),
  )

/** Each alert, and after a comma in which case. */
const CASES: Readonly<Record<string, Case>> = {
  LangflowIsNotServed: {
    series: { 'gate_open a': '1+0x8 0+0x40' },
    quiet: '4m',
    fires: '4m30s',
    labels: ONE,
    summary: 'No replica of LangFlow that Prometheus reaches takes traffic in flows (one).',
  },
  LangflowRequestsWait: {
    // Each at another front.
    series: { 'front_held a': '0+0x8 1 0+0x40', 'front_held b': '0+0x9 2+0x40' },
    quiet: '3m',
    fires: '3m15s',
    labels: ONE,
    summary: 'Requests to LangFlow have waited for a minute in flows (one): 2 now.',
  },
  LangflowReportsNothing: {
    series: all(/ [ab](:|$)/, '1+0x8 stale'),
    quiet: '4m',
    fires: '4m30s',
    labels: ONE,
    summary: 'No replica of LangFlow reports in flows (one).',
  },
  LangflowIsLedTwice: {
    series: { 'leader_election_master_status b': '0+0x8 1+0x40' },
    quiet: '5m',
    fires: '5m15s',
    labels: ONE,
    summary: '2 replicas of LangFlow lead in flows (one).',
  },
  LangflowStopFailed: {
    series: { 'stop_failed a': '0+0x8 1+0x40' },
    quiet: '3m',
    fires: '3m15s',
    labels: { ...ONE, pod: 'a' },
    summary: 'LangFlow of a in flows cannot be stopped, so nobody takes over.',
  },
  LangflowFrontDown: {
    series: { 'front_up b': '1+0x8 0+0x40' },
    quiet: '4m',
    fires: '4m15s',
    labels: { ...ONE, pod: 'b' },
    summary: 'The front of b in flows takes no requests.',
  },
  LangflowHasNoStandby: {
    series: { 'peers_ready a': '1+0x8 0+0x60' },
    quiet: '12m',
    fires: '12m30s',
    labels: ONE,
    summary: 'Nobody would take LangFlow over in flows (one) if its leader failed.',
  },
  'LangflowHasNoStandby, without --peers': {
    series: { 'peers_ready a': '_', 'could_take_over b': '1+0x8 0+0x60' },
    quiet: '12m',
    fires: '12m30s',
    labels: ONE,
    summary: 'Nobody would take LangFlow over in flows (one) if its leader failed.',
  },
  LangflowStandbyIsColder: {
    series: { 'standby_colder b': '0+0x8 1+0x80' },
    quiet: '17m',
    fires: '17m15s',
    labels: { ...ONE, pod: 'b' },
    summary: 'The standby of b in flows is colder than wanted.',
  },
  LangflowLeaderMarginShrinks: {
    series: { 'kill_deadline_seconds a': '12+0x8 8 7 12+0x40' },
    quiet: '2m15s',
    fires: '2m30s',
    labels: { ...ONE, pod: 'a' },
    summary: 'The Lease of a in flows had 7s left.',
  },
  LangflowLeaderInDoubt: {
    series: { 'doubt_seconds_total a': '7+0x8 9+0x60' },
    quiet: '2m',
    fires: '3m',
    labels: { ...ONE, pod: 'a' },
    summary: 'a in flows was in doubt whether it leads.',
  },
  LangflowLeaderFlaps: {
    series: { 'lease_epoch a': '4 5 6 7 8 9+0x4 10+0x40' },
    quiet: '2m',
    fires: '2m30s',
    labels: ONE,
    summary: 'LangFlow changed its leader 6 times in an hour in flows (one).',
  },
  LangflowOutcomesUnknown: {
    series: {
      'front_failed_total{reason="outcome_unknown"} a': '0+0x8 6+0x60',
      'front_failed_total{reason="outcome_unknown"} b': '0+0x8 6+0x60',
    },
    quiet: '2m',
    fires: '3m',
    labels: ONE,
    summary: '12 requests to LangFlow in flows (one) broke off, and may have been carried out.',
  },
  LangflowRestartsInPlace: {
    series: { 'restarts_total{reason="workload_lost"} a': '0+0x8 1+0x80' },
    quiet: '2m',
    fires: '3m',
    labels: { ...ONE, pod: 'a' },
    summary: 'LangFlow of a in flows failed and was started again in place.',
  },
  LangflowLeaderDeadmanFired: {
    series: { 'deadman_firings_total a': '1+0x8 2+0x60' },
    quiet: '2m',
    fires: '3m',
    labels: { ...ONE, pod: 'a' },
    summary: 'The launcher of a in flows ended LangFlow without being told to.',
  },
  LangflowGrantRefused: {
    series: { 'grant_refused b': '0+0x8 1+0x40' },
    quiet: '3m',
    fires: '3m15s',
    labels: { ...ONE, pod: 'b' },
    summary: "The launcher of b in flows refuses its agent's grants.",
  },
  LangflowIsOutdated: {
    series: { 'langflow_outdated b': '0+0x8 1+0x60' },
    quiet: '12m',
    fires: '12m15s',
    labels: { ...ONE, pod: 'b' },
    summary: 'LangFlow of b in flows is older than one that has led, and does not take over.',
  },
  LangflowRevisionFailed: {
    series: { 'revision_failed{revision="5d9c7b",reason="workload_exited"} b': '_x9 1+0x40' },
    quiet: '3m',
    fires: '3m15s',
    labels: { ...ONE, revision: '5d9c7b', reason: 'workload_exited' },
    summary: 'LangFlow of revision 5d9c7b did not start in flows (one): workload_exited.',
  },
  LangflowLeaderProblem: {
    series: { 'problem b': '0+0x8 1+0x40' },
    quiet: '7m',
    fires: '7m15s',
    labels: { ...ONE, pod: 'b' },
    summary: 'Something keeps b in flows from working.',
  },
  LangflowIsPausedForLong: {
    // Who may not take over because of it is no standby that is missing.
    series: { 'paused a': '0+0x8 1+0x300', 'paused b': '0+0x8 1+0x300', 'could_take_over b': '0+0x300' },
    quiet: '62m',
    fires: '62m30s',
    labels: ONE,
    summary: 'Takeovers of LangFlow are paused in flows (one).',
  },
  LangflowDrillIsOverdue: {
    // Here it is 1970.
    series: { 'last_drill_timestamp_seconds a': `-${35 * 86_400 - 120}+0x300` },
    quiet: '62m',
    fires: '62m30s',
    labels: ONE,
    summary: 'The last drill of LangFlow in flows (one) was 35d 1h 0m 30s ago.',
  },
  LangflowDrillMissed: {
    series: { 'last_drill_ok a': '1+0x8 0+0x40' },
    quiet: '3m',
    fires: '3m15s',
    labels: ONE,
    summary: 'The last drill of LangFlow in flows (one) failed, or took longer than allowed.',
  },
}

const alertOf = (name: string) => name.split(',', 1)[0]!

describe('the alerts', () => {
  const dir = mkdtempSync(join(tmpdir(), 'alerts-test-'))
  after(() => rmSync(dir, { recursive: true }))

  test('are the same for the Prometheus Operator (npm run alerts writes them)', () => {
    assert.equal(readFileSync(PROMETHEUS_RULE, 'utf8'), prometheusRule())
  })

  test('each has a section of the runbook that says what to look at, what to do and what not', () => {
    const [, ...sections] = read('runbook.md').split(/^## (?=Langflow)/m)
    assert.deepEqual(
      sections.map((section) => section.split('\n', 1)[0]),
      [...alerts.keys()],
    )
    for (const section of sections) {
      const parts = [...section.split(/^# /m)[0]!.matchAll(/^\*\*(.+?)\.\*\*/gm)].map(([, part]) => part)
      assert.deepEqual(parts, ['Means', 'Look', 'Do', 'Do not'], section)
    }
    for (const [name, { annotations, labels }] of alerts) {
      const [page, anchor] = annotations.runbook_url.split('#')
      assert.deepEqual([page!.endsWith('/docs/runbook.md'), anchor], [true, name.toLowerCase()])
      assert.match(labels.severity, /^(critical|warning)$/)
    }
  })

  test('the runbook names commands that there are', () => {
    const commands = [...read('reference.md').matchAll(/^## (\w+)$/gm)].map(([, name]) => name)
    const named = [...read('runbook.md').matchAll(/\blangflow-leader ([a-z]+)/g)].map(([, name]) => name)
    assert.ok(named.length > 5)
    assert.deepEqual(
      named.filter((name) => !commands.includes(name)),
      [],
    )
  })

  test('each has a case here', () => {
    assert.deepEqual([...new Set(Object.keys(CASES).map(alertOf))], [...alerts.keys()])
  })

  test('promtool takes the file', { skip: missing }, async () => {
    await run('promtool', ['check', 'rules', '--lint-fatal', RULES])
  })

  test('nothing fires where all is well', { skip: missing }, () => play(STEADY, [{ at: '2h', firing: [] }]))

  test('nothing fires where two jobs scrape each target', { skip: missing }, () =>
    play(STEADY, [{ at: '12m', firing: [] }], [], ['pods', 'annotations']),
  )

  test('nothing fires where the leader reaches a standby that Prometheus does not', { skip: missing }, () =>
    play({ ...STEADY, 'could_take_over b': '1+0x8 stale' }, [{ at: '25m', firing: [] }]),
  )

  for (const [name, { series, quiet, fires, labels, summary }] of Object.entries(CASES))
    test(`${name}: not before its time, and nothing else`, { skip: missing }, () => {
      const alert = alertOf(name)
      const { annotations, labels: own } = alerts.get(alert)!
      const told = { exp_labels: { ...labels, ...own }, exp_annotations: { ...annotations, summary } }
      return play(
        { ...STEADY, ...series },
        [
          { at: quiet, firing: [] },
          { at: fires, firing: [alert] },
        ],
        [{ eval_time: fires, alertname: alert, exp_alerts: [told] }],
      )
    })

  for (const [when, series, silent] of [
    ['where nobody ever did', { up: '1+0x40' }, [[{}, 'No replica of LangFlow reports.']]],
    [
      'of each LangFlow where all fall silent',
      all(/./, '1+0x8 stale'),
      [
        [ONE, 'No replica of LangFlow reports in flows (one).'],
        [{ namespace: 'flows', lease: 'two' }, 'No replica of LangFlow reports in flows (two).'],
        [{ namespace: 'others', lease: 'one' }, 'No replica of LangFlow reports in others (one).'],
      ],
    ],
  ] as const)
    test(`LangflowReportsNothing: ${when}`, { skip: missing }, () => {
      const { annotations, labels } = alerts.get('LangflowReportsNothing')!
      const told = silent.map(([own, summary]) => ({
        exp_labels: { ...labels, ...own },
        exp_annotations: { ...annotations, summary },
      }))
      return play(series, [], [{ eval_time: '6m', alertname: 'LangflowReportsNothing', exp_alerts: told }])
    })

  /** What promtool says where these alerts, and no others, fire at these times. */
  async function play(
    series: Readonly<Record<string, string>>,
    moments: readonly { at: string; firing: readonly string[] }[],
    alerts: readonly object[] = [],
    jobs: readonly string[] = ['pods'],
  ): Promise<void> {
    const file = join(dir, 'case.yaml')
    const one = {
      interval: '15s',
      input_series: jobs.flatMap((job) =>
        Object.entries(series).map(([name, values]) => ({ series: seriesOf(name, job), values })),
      ),
      alert_rule_test: alerts,
      promql_expr_test: moments.map(({ at, firing }) => ({
        expr: 'group by (alertname) (ALERTS{alertstate="firing"})',
        eval_time: at,
        exp_samples: firing.map((alert) => ({ labels: `{alertname="${alert}"}`, value: 1 })),
      })),
    }
    writeFileSync(file, stringify({ rule_files: [RULES], evaluation_interval: '15s', tests: [one] }))
    await run('promtool', ['test', 'rules', file]).catch(({ stdout, stderr }) =>
      assert.fail(`${stdout}${stderr}`),
    )
  }
})

/** As Prometheus has the series that is called `NAME{LABELS} POD` above. */
function seriesOf(short: string, job: string): string {
  const [, metric, own = '', target] = /^(\w+)(?:\{(.+)\})?(?: (\S+))?$/.exec(short)!
  if (target === undefined) return metric!
  const labels = [
    own,
    ...Object.entries({ ...targetOf(target), job }).map(([name, value]) => `${name}="${value}"`),
  ]
  if (metric === 'leader_election_master_status' && own === '')
    labels.push(`name="${target === 'x' ? 'two' : 'one'}"`)
  const family = metric!.startsWith('leader_election') ? metric : `langflow_leader_${metric}`
  return `${family}{${labels.filter(Boolean).join(',')}}`
}

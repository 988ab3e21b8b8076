import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { stringify } from 'yaml'
import { hasPrometheus } from '../harness/prometheus.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { RULES, rules } from './queries.ts'

const run = promisify(execFile)
const DOCS = join(import.meta.dirname, '../../docs')
const read = (page: string) => readFileSync(join(DOCS, page), 'utf8')
const missing = hasPrometheus() ? false : 'SKIPPED: install prometheus (with promtool) to test the alerts'
if (missing) console.error(missing)

const alerts = new Map(rules().flatMap((rule) => (rule.alert === undefined ? [] : [[rule.alert, rule]])))

/**
 * Samples every 15 s in the notation of promtool, by metric and pod. The namespace `flows` has two LangFlows (pods a
 * and b; pod x), and `others` has one (pod y). No alert may fire.
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
  // A takeover: requests wait at one scrape.
  'front_held a': '0+0x20 12 0+0x800',
  'front_held b': '0+0x20 3 0+0x800',
  'front_failed_total{reason="outcome_unknown"} a': '0+0x20 8+0x800',
  'front_failed_total{reason="client_gone"} b': '0+5x800',
  // Another program with leader election in the same pod.
  'leader_election_master_status{name="another"} b:9090': '1+0x800',
  ...others('x'),
  ...others('y'),
}

function others(pod: string): Record<string, string> {
  return {
    [`leader_election_master_status ${pod}`]: '1+0x800',
    [`build_info ${pod}`]: '1+0x800',
    [`gate_open ${pod}`]: '1+0x800',
  }
}

/** `series`: changes to `STEADY`. The alert does not fire at `quiet`, and fires at `fires` with the labels `of`. */
type Case = readonly [
  series: Readonly<Record<string, string>>,
  quiet: string,
  fires: string,
  of?: Labels,
  interval?: string,
]
type Labels = Readonly<Record<string, string>>

const ONE = { namespace: 'flows', lease: 'one' }
const [OF_A, OF_B] = [
  { ...ONE, pod: 'a' },
  { ...ONE, pod: 'b' },
]
/** The labels of a target, given as `POD` or `POD:PORT`. */
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

/** The cases by the name of the alert. A second case of an alert has a description after a comma. */
const CASES: Readonly<Record<string, Case>> = {
  LangflowIsNotServed: [{ 'gate_open a': '1+0x8 0+0x40' }, '4m', '4m30s'],
  // A minute without a server within an hour. After five more minutes, it no longer lasts.
  LangflowBudgetBurnsFast: [{ 'gate_open a': '1+0x80 0+0x3 1+0x40' }, '21m', '25m'],
  'LangflowBudgetBurnsFast, in six hours': [
    { 'gate_open a': '1+0x80 0+0x2 1+0x80 0+0x2 1+0x80 0+0x2 1+0x900' },
    '40m',
    '65m',
  ],
  // 15 s in each hour. Samples every 5 min, so that this case does not take 20 s.
  LangflowBudgetBurnsSlowly: [
    {
      ...all(/^gate_open [ab]/, '_'),
      'langflow_leader:lease:unserved5m{namespace="flows",lease="one"}': '0.0042+0x300',
    },
    '17h',
    '17h30m',
    ONE,
    '5m',
  ],
  LangflowRequestsWait: [
    // One request waits at each scrape, at different fronts.
    { 'front_held a': '0+0x8 1 0+0x40', 'front_held b': '0+0x9 2+0x40' },
    '3m',
    '3m15s',
  ],
  LangflowReportsNothing: [all(/ [ab](:|$)/, '1+0x8 stale'), '4m', '4m30s'],
  LangflowIsLedTwice: [{ 'leader_election_master_status b': '0+0x8 1+0x40' }, '5m', '5m15s'],
  LangflowStopFailed: [{ 'stop_failed a': '0+0x8 1+0x40' }, '3m', '3m15s', OF_A],
  LangflowFrontDown: [{ 'front_up b': '1+0x8 0+0x40' }, '4m', '4m15s', OF_B],
  LangflowHasNoStandby: [{ 'peers_ready a': '1+0x8 0+0x60' }, '12m', '12m30s'],
  'LangflowHasNoStandby, without --peers': [
    { 'peers_ready a': '_', 'could_take_over b': '1+0x8 0+0x60' },
    '12m',
    '12m30s',
  ],
  LangflowStandbyIsColder: [{ 'standby_colder b': '0+0x8 1+0x80' }, '17m', '17m15s', OF_B],
  LangflowLeaderMarginShrinks: [{ 'kill_deadline_seconds a': '12+0x8 8 7 12+0x40' }, '2m15s', '2m30s', OF_A],
  LangflowLeaderInDoubt: [{ 'doubt_seconds_total a': '7+0x8 9+0x60' }, '2m', '3m', OF_A],
  LangflowLeadsByConsent: [{ 'failsafe_left_seconds a': '_x9 600-15x20' }, '2m', '2m30s', OF_A],
  LangflowConsentEndsSoon: [{ 'failsafe_left_seconds a': '_x9 59-15x3' }, '2m', '2m30s', OF_A],
  LangflowLeaderFlaps: [{ 'lease_epoch a': '4 5 6 7 8 9+0x4 10+0x40' }, '2m', '2m30s'],
  LangflowOutcomesUnknown: [
    {
      'front_failed_total{reason="outcome_unknown"} a': '0+0x8 6+0x60',
      'front_failed_total{reason="outcome_unknown"} b': '0+0x8 6+0x60',
    },
    '2m',
    '3m',
  ],
  LangflowRestartsInPlace: [{ 'restarts_total{reason="workload_lost"} a': '0+0x8 1+0x80' }, '2m', '3m', OF_A],
  LangflowLeaderDeadmanFired: [{ 'deadman_firings_total a': '1+0x8 2+0x60' }, '2m', '3m', OF_A],
  LangflowGrantRefused: [{ 'grant_refused b': '0+0x8 1+0x40' }, '3m', '3m15s', OF_B],
  LangflowIsOutdated: [{ 'langflow_outdated b': '0+0x8 1+0x60' }, '12m', '12m15s', OF_B],
  LangflowRevisionFailed: [
    { 'revision_failed{revision="5d9c7b",reason="workload_exited"} b': '_x9 1+0x40' },
    '3m',
    '3m15s',
    { ...ONE, revision: '5d9c7b', reason: 'workload_exited' },
  ],
  LangflowLeaderProblem: [{ 'problem b': '0+0x8 1+0x40' }, '7m', '7m15s', OF_B],
  LangflowIsPausedForLong: [
    // LangflowHasNoStandby must not fire, because the pause is the reason.
    { 'paused a': '0+0x8 1+0x300', 'paused b': '0+0x8 1+0x300', 'could_take_over b': '0+0x300' },
    '62m',
    '62m30s',
  ],
  LangflowDrillIsOverdue: [
    // promtool's time begins in 1970.
    { 'last_drill_timestamp_seconds a': `-${35 * 86_400 - 120}+0x300` },
    '62m',
    '62m30s',
  ],
  LangflowDrillMissed: [{ 'last_drill_ok a': '1+0x8 0+0x40' }, '3m', '3m15s'],
}

const alertOf = (name: string) => name.split(',', 1)[0]!

describe('the alerts', () => {
  const dir = temporaryDirectory()

  test('link to runbook sections that have the parts Means, Look, Do and Avoid', () => {
    const [, ...sections] = read('guide/troubleshoot.md').split(/^## (?=Langflow)/m)
    assert.deepEqual(
      sections.map((section) => section.split('\n', 1)[0]),
      [...alerts.keys()],
    )
    for (const section of sections) {
      const parts = [...section.split(/^# /m)[0]!.matchAll(/^\*\*(.+?)\.\*\*/gm)].map(([, part]) => part)
      assert.deepEqual(parts, ['Means', 'Look', 'Do', 'Avoid'], section)
    }
    for (const [name, { annotations, labels }] of alerts) {
      assert.ok(annotations.runbook_url.endsWith(`/docs/guide/troubleshoot.md#${name.toLowerCase()}`))
      assert.match(labels.severity, /^(critical|warning)$/)
    }
  })

  test('all have a case in this file', () => {
    assert.deepEqual([...new Set(Object.keys(CASES).map(alertOf))], [...alerts.keys()])
  })

  test('pass the checks of promtool', { skip: missing }, async () => {
    await run('promtool', ['check', 'rules', '--lint-fatal', RULES])
  })

  test('do not fire in a steady state', { skip: missing }, () => play(STEADY, { '2h': [] }))

  test('do not fire while LangFlow starts for the first time', { skip: missing }, () =>
    play({ ...STEADY, 'gate_open a': '0+0x7 1+0x800' }, { '1m45s': [], '4m': [], '10m': [] }),
  )

  test('do not fire if Prometheus cannot reach a standby that the leader reaches', { skip: missing }, () =>
    play({ ...STEADY, 'could_take_over b': '1+0x8 stale' }, { '25m': [] }),
  )

  for (const [name, [series, quiet, fires, of = ONE, interval]] of Object.entries(CASES))
    test(`${name} fires on time and alone`, { skip: missing }, () => {
      const { annotations } = alerts.get(alertOf(name))!
      // A missing label would leave a gap in the summary.
      for (const [, label] of annotations.summary.matchAll(/\$labels\.(\w+)/g)) assert.ok(label! in of, label)
      return play({ ...STEADY, ...series }, { [quiet]: [], [fires]: [firing(alertOf(name), of)] }, interval)
    })

  for (const [when, series, silent, names] of [
    ['if no LangFlow has ever reported', { up: '1+0x40' }, [{}], ['LangflowReportsNothing']],
    [
      'for each LangFlow if all fall silent',
      all(/./, '1+0x8 stale'),
      [ONE, { namespace: 'flows', lease: 'two' }, { namespace: 'others', lease: 'one' }],
      ['LangflowBudgetBurnsFast', 'LangflowReportsNothing'],
    ],
  ] as const)
    test(`LangflowReportsNothing fires ${when}`, { skip: missing }, () =>
      play(series, { '6m': silent.flatMap((of) => names.map((name) => firing(name, of))) }),
    )

  function firing(alertname: string, of: Labels): string {
    return `{${labelsOf({ alertname, ...alerts.get(alertname)!.labels, ...of })}}`
  }

  async function play(
    series: Readonly<Record<string, string>>,
    moments: Readonly<Record<string, readonly string[]>>,
    interval = '15s',
  ): Promise<void> {
    const file = join(dir, 'case.yaml')
    const one = {
      interval,
      input_series: Object.entries(series).map(([name, values]) => ({ series: seriesOf(name), values })),
      promql_expr_test: Object.entries(moments).map(([eval_time, alerts]) => ({
        expr: 'max without (alertstate) (ALERTS{alertstate="firing"})',
        eval_time,
        exp_samples: alerts.map((labels) => ({ labels, value: 1 })),
      })),
    }
    writeFileSync(file, stringify({ rule_files: [RULES], evaluation_interval: interval, tests: [one] }))
    await run('promtool', ['test', 'rules', file]).catch(({ stdout, stderr }) =>
      assert.fail(`${stdout}${stderr}`),
    )
  }
})

const labelsOf = (labels: Labels) =>
  Object.entries(labels)
    .map(([name, value]) => `${name}="${value}"`)
    .join()

function seriesOf(short: string): string {
  const [, metric, own = '', target] = /^([\w:]+)(?:\{(.+)\})?(?: (\S+))?$/.exec(short)!
  if (target === undefined) return short
  const labels = [own, labelsOf(targetOf(target))]
  if (metric === 'leader_election_master_status' && own === '')
    labels.push(`name="${target === 'x' ? 'two' : 'one'}"`)
  const family = metric!.startsWith('leader_election') ? metric : `langflow_leader_${metric}`
  return `${family}{${labels.filter(Boolean).join(',')}}`
}

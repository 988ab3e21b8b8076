import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { stringify } from 'yaml'
import { hasPrometheus } from '../harness/prometheus.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { fronted, Replica, SERVING } from '../observe/replica.ts'
import { dashboard, dashboardQueries, filled, metricsIn, rules } from './queries.ts'

const run = promisify(execFile)
const missing = hasPrometheus() ? false : 'SKIPPED: install prometheus (with promtool) to parse the queries'
if (missing) console.error(missing)
const VALUES = { namespace: 'flows', lease: 'one', pod: 'a|b', __rate_interval: '1m', __range: '30d' }
/** Labels that Prometheus adds to each series of a pod. */
const TARGET = ['namespace', 'pod']
const board = dashboard()
const ASKED = [
  ...dashboardQueries(board),
  ...board.templating.list.map(({ name, definition = '' }) => [name, definition] as const),
  ...rules().map(({ alert, record, expr }) => [alert ?? record!, expr] as const),
]

describe('the dashboard', () => {
  test('selects the chosen namespace in each query, and uses only defined variables', () => {
    const variables = board.templating.list.map(({ name }) => name)
    assert.deepEqual(variables, ['datasource', 'namespace', 'lease', 'pod'])
    for (const [where, query] of dashboardQueries(board)) {
      assert.match(query, /namespace="\$namespace"/, where)
      assert.doesNotMatch(filled(query, VALUES), /\$/, where)
    }
    for (const { name, definition = '' } of board.templating.list) {
      const named = [...definition.matchAll(/\$(\w+)/g)].map(([, variable]) => variable!)
      for (const other of named) assert.ok(variables.indexOf(other) < variables.indexOf(name), name)
    }
  })

  test('has only valid PromQL queries', { skip: missing }, async () => {
    const queries = dashboardQueries(board).map(([, query], n) => ({
      record: `query:${n}`,
      expr: filled(query, VALUES),
    }))
    const file = join(temporaryDirectory(), 'rules.yaml')
    writeFileSync(file, stringify({ groups: [{ name: 'dashboard', rules: queries }] }))
    await run('promtool', ['check', 'rules', file])
  })

  test('uses only metrics that the agent exposes, as do the rules', async () => {
    const text = await new Replica().metrics.expose()
    const known = new Set(
      [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name, type]) =>
        type === 'histogram' ? ['bucket', 'sum', 'count'].map((part) => `${name}_${part}`) : [name!],
      ),
    )
    for (const [where, query] of ASKED)
      for (const metric of metricsIn(query))
        assert.ok(known.has(metric), `${where} uses the unknown metric ${metric}`)
  })

  test('selects only by labels and values that the agent exposes, as do the rules', async () => {
    const text = await new Replica(fronted(SERVING)).metrics.expose()
    for (const [where, query] of ASKED)
      for (const [selector, metric, matchers] of query.matchAll(
        /((?:langflow_leader|leader_election)_\w+)\{([^}]*)\}/g,
      ))
        for (const [, label, value] of matchers!.matchAll(/(\w+)=~?"([^"$]*)/g))
          assert.ok(
            TARGET.includes(label!) || new RegExp(`^${metric}\\{.*\\b${label}="${value}`, 'm').test(text),
            `${where}: no series matches ${selector}`,
          )
  })
})

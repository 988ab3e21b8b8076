import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse, stringify } from 'yaml'
import { LAST_DRILL } from '../../agent/lease/operator-annotations.ts'
import { DemoProcess } from '../demo/demo-process.ts'
import type { Stage } from '../demo/report.ts'
import { dashboard, dashboardQueries, filled, metricsIn, rules } from '../deploy/queries.ts'
import { freePort } from '../harness/free-port.ts'
import { hasPrometheus } from '../harness/prometheus.ts'
import { Guard, ServerProcess } from '../harness/server-process.ts'
import { until } from '../harness/wait.ts'

const missing = hasPrometheus() ? false : 'SKIPPED: install prometheus to scrape a running demo'
if (missing) console.error(missing)

const EVERY_MS = 1_000
const NAMESPACE = 'default'
const LEASE = 'langflow-leader-lock'
/** A metric with its matchers, as PromQL writes it. */
const SELECTOR = /\b[a-z]\w+(?:\{[^}]*\})?/g
/** Values of the dashboard's variables, as a user selects them in Grafana. */
const VALUES = {
  namespace: NAMESPACE,
  lease: LEASE,
  pod: 'replica-a|replica-b|replica-c',
  __rate_interval: '1m',
}

/** Metrics that a healthy demo does not expose, with the reason. */
const RARE: Readonly<Record<string, string>> = {
  langflow_leader_revision_failed: 'only a failed rollout has it; a promtool test covers its alert',
}

interface Sample {
  metric: Record<string, string>
  value: [number, string]
}

describe('Prometheus with a running demo', { skip: missing }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'monitoring-test-'))
  const guard = new Guard(dir)
  let demo: DemoProcess
  let stage: Stage
  let prometheus: ServerProcess
  let url: string

  before(async () => {
    mkdirSync(join(dir, 'flows'))
    writeFileSync(join(dir, 'flows/one.json'), '{}')
    demo = new DemoProcess(['--stay', '--json'], { LANGFLOW_LOAD_FLOWS_PATH: join(dir, 'flows') })
    await demo.line(/^\{/)
    stage = JSON.parse(demo.stdout[0]!) as Stage
    const port = await freePort()
    url = `http://127.0.0.1:${port}`
    writeFileSync(join(dir, 'rules.yaml'), stringify({ groups: [{ name: 'all', rules: rules() }] }))
    writeFileSync(join(dir, 'prometheus.yaml'), stringify(configOf(stage)))
    prometheus = new ServerProcess(
      'prometheus',
      [
        `--config.file=${dir}/prometheus.yaml`,
        `--storage.tsdb.path=${dir}/data`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      join(dir, 'log'),
    )
    guard.watch([prometheus])
    await prometheus.ready('prometheus', async () => (await fetch(`${url}/-/ready`)).ok)
  })
  after(async () => {
    await prometheus?.stop()
    await demo?.dispose()
    await guard.close()
    rmSync(dir, { recursive: true, force: true })
  })

  async function ask(query: string): Promise<Sample[]> {
    const answer = await fetch(`${url}/api/v1/query?${new URLSearchParams({ query })}`)
    const { status, error, data } = (await answer.json()) as {
      status: string
      error?: string
      data: { result: Sample[] }
    }
    assert.equal(status, 'success', `${query}: ${error}`)
    return data.result
  }

  test('has each series that rules and dashboard use, and answers each of their queries', async () => {
    const annotations = { [LAST_DRILL]: `${new Date().toISOString()} ok` }
    await api('PATCH', `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/${LEASE}`, {
      metadata: { annotations },
    })
    await until(
      'the result of the last drill from three replicas',
      async () => (await ask('langflow_leader_last_drill_ok')).length === 3,
    )
    const variables = dashboard().templating.list.flatMap(({ definition }) => definition ?? [])
    const queries = dashboardQueries().map(([, query]) => filled(query, VALUES))
    for (const query of queries) await ask(query)
    const selectors = [
      ...queries,
      ...variables.map((one) => filled(one, VALUES)),
      ...rules().map(({ expr }) => expr),
    ]
      .flatMap((query) => query.match(SELECTOR) ?? [])
      .filter((selector) => metricsIn(selector).length > 0)
    for (const selector of new Set(selectors))
      if (!(metricsIn(selector)[0]! in RARE))
        assert.notDeepEqual(await ask(`count(${selector})`), [], `no series matches ${selector}`)
  })

  /** Sends a request to the demo's API server. */
  async function api(method: string, path: string, body?: object): Promise<void> {
    const [{ cluster }] = parse(readFileSync(stage.kubeconfig, 'utf8')).clusters
    const headers = { 'content-type': 'application/merge-patch+json' }
    const answer = await fetch(`${cluster.server}${path}`, {
      method,
      ...(body && { headers, body: JSON.stringify(body) }),
    })
    assert.ok(answer.ok, await answer.text())
  }
})

function configOf({ agents }: Stage): object {
  return {
    global: {
      scrape_interval: `${EVERY_MS}ms`,
      scrape_timeout: `${EVERY_MS}ms`,
      evaluation_interval: `${EVERY_MS}ms`,
    },
    rule_files: ['rules.yaml'],
    scrape_configs: [
      {
        job_name: 'demo',
        static_configs: Object.entries(agents).map(([pod, agent]) => ({
          targets: [new URL(agent).host],
          labels: { namespace: NAMESPACE, pod },
        })),
      },
    ],
  }
}

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Report } from '../../agent/operate/drill/report.ts'
import { until } from '../harness/wait.ts'
import { scenariosOn } from './scenario.ts'

const PROGRAM = join(import.meta.dirname, '../../agent/main.ts')
/** A machine that does other things as well takes its time. */
const HANGS_MS = 300_000

const scenario = scenariosOn({ components: ['drill'] })

scenario('a drill plays every scenario, also by commands in pods, and each passes', async (one, t) => {
  await one.settled()
  const args = ['drill', '--scenario=all', `--service=${one.url}`, '-n', one.namespace, '--yes', '-o', 'json']
  const drilled = promisify(execFile)(process.execPath, [PROGRAM, ...args], { timeout: HANGS_MS })
  const { stdout } = await drilled.catch((error) => {
    throw new Error(`${error.stderr}\n${error.stdout}`)
  })
  const { result, scenarios } = JSON.parse(stdout) as Report
  for (const { scenario, measured, wellAgainMs } of scenarios)
    t.diagnostic(`${scenario}: RTO ${measured.rtoMs} ms, well again after ${wellAgainMs} ms`)
  assert.equal(result, 'ok')
  const terms = scenarios.map(({ scenario, epochBefore, epochAfter }) => [scenario, epochAfter - epochBefore])
  assert.deepEqual(terms, [
    ['switchover', 1],
    ['crash-langflow', 1],
    ['crash-agent', 0],
    ['delete-pod', 1],
  ])
})

scenario('its CronJob has the rights that it needs, and keeps its report', async (one) => {
  await one.settled()
  const { epoch } = one.lease
  await one.kubectl('create', 'job', 'now', '--from=cronjob/langflow-leader-drill')
  const status = () =>
    one.kubectl('get', 'job', 'now', '--output=jsonpath={.status.succeeded}/{.status.failed}')
  await until('its job has ended', async () => /\d/.test(await status()), HANGS_MS)
  assert.equal(await status(), '1/', await one.kubectl('logs', 'job/now').catch(() => 'no log'))
  const data = await one.kubectl('get', 'configmap', 'langflow-leader-drills', '--output=jsonpath={.data}')
  const [[name, report] = ['', '']] = Object.entries(JSON.parse(data) as Record<string, string>)
  assert.match(name, /\.json$/)
  assert.equal((JSON.parse(report) as Report).result, 'ok')
  assert.equal(one.lease.epoch, epoch + 1)
})

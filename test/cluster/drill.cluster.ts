import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { SCENARIOS } from '../../agent/cli/drill/drill-command.ts'
import type { Report } from '../../agent/cli/drill/drill-report.ts'
import { until } from '../harness/wait.ts'
import { scenariosOn } from './scenario.ts'

const PROGRAM = join(import.meta.dirname, '../../agent/main.ts')
/** Generous, since the machine may be busy with other work. */
const HANGS_MS = 300_000

const scenario = scenariosOn({ values: { drill: { enabled: true } } })

// The CronJob's drill is a switchover.
for (const name of SCENARIOS.filter((name) => name !== 'switchover'))
  scenario(`a drill with the scenario ${name} passes`, async (one, t) => {
    await one.settled()
    const { epoch } = one.lease
    const args = [`--scenario=${name}`, `--service=${one.url}`, '-n', one.namespace, '--yes', '-o', 'json']
    const drilled = promisify(execFile)(process.execPath, [PROGRAM, 'drill', ...args], { timeout: HANGS_MS })
    const { stdout } = await drilled.catch((error) => {
      throw new Error(`${error.stderr}\n${error.stdout}`)
    })
    const { result, measured, wellAgainMs } = JSON.parse(stdout) as Report
    t.diagnostic(`RTO ${measured.rtoMs} ms, recovered after ${wellAgainMs} ms`)
    assert.deepEqual([result, one.lease.epoch], ['ok', epoch + 1])
  })

scenario('the CronJob of the drill has all rights that it needs, and logs a report', async (one) => {
  await one.settled()
  const { epoch } = one.lease
  await one.kubectl('create', 'job', 'now', '--from=cronjob/langflow-leader-drill')
  const status = () =>
    one.kubectl('get', 'job', 'now', '--output=jsonpath={.status.succeeded}/{.status.failed}')
  await until('the end of the job', async () => /\d/.test(await status()), HANGS_MS)
  const log = await one.kubectl('logs', 'job/now').catch(() => 'the job has no log')
  assert.equal(await status(), '1/', log)
  assert.match(log, /^result: +passed$/m)
  assert.equal(one.lease.epoch, epoch + 1)
})

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { kubeconfigFor } from '../../agent/demo/api-server.ts'
import type { Stage } from '../../agent/demo/report.ts'
import { DRILL, lastDrillOf, SWITCHOVER_TO } from '../../agent/lease/operation.ts'
import { Cluster } from '../../agent/operate/cluster.ts'
import type { Report } from '../../agent/operate/drill/report.ts'
import { DemoProcess, FAST } from '../demo/demo-process.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { until } from '../harness/wait.ts'
import { ScriptedServer } from '../kube/scripted-server.ts'

/** The program as it is delivered, against real replicas. */
describe('a drill of the demo', () => {
  const dir = mkdtempSync(join(tmpdir(), 'drill-test-'))
  let demo: DemoProcess
  let stage: Stage
  let cluster: Cluster

  before(async () => {
    demo = new DemoProcess(['--stay', '--json', ...FAST])
    await demo.line(/^\{/)
    stage = JSON.parse(demo.stdout[0] ?? '')
    const { kubeconfig } = stage
    cluster = await Cluster.connect({
      leaseName: 'langflow-leader-lock',
      leaseNamespace: null,
      kubeconfig,
      context: null,
    })
  })
  after(async () => {
    cluster?.close()
    await demo?.dispose()
    rmSync(dir, { recursive: true })
  })

  const start = (...flags: string[]): ChildProcess =>
    spawn(
      process.execPath,
      [BUNDLE, 'drill', `--kubeconfig=${stage.kubeconfig}`, `--service=${stage.entrance}`, '--yes', ...flags],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )

  async function ended(drill: ChildProcess) {
    const [[code], stdout, stderr] = await Promise.all([
      once(drill, 'close'),
      text(drill.stdout!),
      text(drill.stderr!),
    ])
    return { code: code as number, stdout, stderr }
  }

  test('moves leadership, measures it, and tells it to whoever comes later', async () => {
    const file = join(dir, 'report.html')
    const { code, stdout, stderr } = await ended(start('-o', 'json', `--report=${file}`))
    assert.equal(code, 0, stderr)
    const report = JSON.parse(stdout) as Report
    const [played] = report.scenarios
    assert.deepEqual([report.result, played?.result], ['ok', 'ok'])
    assert.notEqual(played?.from, played?.to)
    const [ending, began] = played?.terms ?? []
    assert.deepEqual([ending?.endedBecause, began?.because], ['switchover', 'released'])
    assert.notEqual(began?.phases.healthyMs, null)
    assert.ok(readFileSync(file, 'utf8').includes('<svg'))
    const lease = await cluster.lease()
    assert.equal(lastDrillOf(lease)?.result, 'ok')
    assert.equal(lease.metadata.annotations?.[DRILL], undefined)
  })

  test('deletes a pod, and misses a limit that nobody can keep', async () => {
    const { code, stdout } = await ended(start('--scenario=delete-pod', '--rto=1ms'))
    assert.equal(code, 1)
    assert.match(stdout, /^# Drill of .*: missed its limits$/m)
    assert.match(stdout, /deleted the pod replica-[abc], as kubectl delete pod does/)
  })

  test('kills nothing where the API server runs no commands in pods', async () => {
    const { code, stdout } = await ended(start('--scenario=all', '-o', 'json'))
    assert.deepEqual([code, JSON.parse(stdout).error.code], [3, 'impossible'])
  })

  test('is interrupted while an API server does not answer: it says so at once', async () => {
    const asked = Promise.withResolvers<void>()
    await using silent = await ScriptedServer.start(() => asked.resolve())
    const kubeconfig = join(dir, 'silent')
    writeFileSync(kubeconfig, kubeconfigFor(silent.url))
    const drill = start(`--kubeconfig=${kubeconfig}`)
    const end = ended(drill)
    await asked.promise
    drill.kill('SIGINT')
    const { code, stderr } = await end
    assert.deepEqual([code, stderr], [130, 'langflow-leader: interrupted: nothing was done\n'])
  })

  test('is interrupted before its fault: nothing is left of it', async () => {
    const { metadata } = await cluster.lease()
    const drill = start()
    const end = ended(drill)
    // It has begun once the Lease says so.
    await until('the drill', async () => (await cluster.lease()).metadata.annotations?.[DRILL] !== undefined)
    drill.kill('SIGINT')
    const { code, stderr } = await end
    assert.deepEqual([code, stderr], [130, 'langflow-leader: interrupted: nothing was done\n'])
    const { annotations } = (await cluster.lease()).metadata
    assert.deepEqual([annotations?.[DRILL], annotations?.[SWITCHOVER_TO]], [undefined, undefined])
    const last = 'langflow-leader/last-drill'
    assert.equal(annotations?.[last], metadata.annotations?.[last])
  })
})

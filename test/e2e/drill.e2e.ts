import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { Cluster } from '../../agent/cli/cluster.ts'
import type { Report } from '../../agent/cli/drill/drill-report.ts'
import { LAST_DRILL, lastDrillOf, SWITCHOVER_TO } from '../../agent/lease/operator-annotations.ts'
import { DemoProcess } from '../demo/demo-process.ts'
import type { Stage } from '../demo/report.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { ScriptedServer } from '../kube/scripted-server.ts'

/** Runs the built program against real replicas. */
describe('a drill against the demo', () => {
  let demo: DemoProcess
  let stage: Stage
  let cluster: Cluster

  before(async () => {
    demo = new DemoProcess(['--stay', '--json', '--fast'])
    await demo.line(/^\{/)
    stage = JSON.parse(demo.stdout[0] ?? '')
    const { kubeconfig } = stage
    cluster = await Cluster.connect({
      leaseName: 'langflow-leader-lock',
      leaseNamespace: null,
      kubeconfig,
      context: null,
      url: null,
    })
  })
  after(async () => {
    cluster?.[Symbol.dispose]()
    await demo?.dispose()
  })

  /** Starts a drill whose prober uses a follower's front. */
  async function start(...flags: string[]): Promise<ChildProcess> {
    const { spec } = await cluster.lease()
    const [, front] = Object.entries(stage.fronts).find(([name]) => name !== spec?.holderIdentity) ?? []
    const command = [
      BUNDLE,
      'drill',
      `--kubeconfig=${stage.kubeconfig}`,
      `--service=${front}`,
      '--yes',
      ...flags,
    ]
    return spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'] })
  }

  async function ended(drill: ChildProcess) {
    const [[code], stdout, stderr] = await Promise.all([
      once(drill, 'close'),
      text(drill.stdout!),
      text(drill.stderr!),
    ])
    return { code: code as number, stdout, stderr }
  }

  test('moves leadership, reports the takeover, and records its result on the Lease', async () => {
    const { code, stdout, stderr } = await ended(await start('-o', 'json'))
    assert.equal(code, 0, stderr)
    const { result, from, to, terms } = JSON.parse(stdout) as Report
    assert.equal(result, 'ok')
    assert.notEqual(from, to)
    const [began, ending] = terms
    assert.deepEqual([ending?.endedBecause, began?.because], ['switchover', 'released'])
    assert.notEqual(began?.phases.healthyMs, null)
    assert.equal(lastDrillOf(await cluster.lease())?.result, 'ok')
  })

  test('deletes a pod, and fails if the takeover exceeds its limit', async () => {
    const { code, stdout } = await ended(await start('--scenario=delete-pod', '--rto=1ms'))
    assert.equal(code, 1)
    assert.match(stdout, /^result: +missed its limits: no user was served for /m)
    assert.match(stdout, /^done: +deleted the pod replica-[abc]$/m)
  })

  test('changes nothing on the Lease if it is interrupted before its fault', async () => {
    const { metadata } = await cluster.lease()
    const asked = Promise.withResolvers<void>()
    await using silent = await ScriptedServer.start(() => asked.resolve())
    const drill = await start(`--service=${silent.url}`)
    const end = ended(drill)
    await asked.promise
    drill.kill('SIGINT')
    const { code, stderr } = await end
    assert.deepEqual([code, stderr], [130, 'langflow-leader: interrupted\n'])
    const { annotations } = (await cluster.lease()).metadata
    assert.equal(annotations?.[SWITCHOVER_TO], undefined)
    assert.equal(annotations?.[LAST_DRILL], metadata.annotations?.[LAST_DRILL])
  })
})

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Cluster, holderRow } from '../../agent/cli/cluster.ts'
import { POD } from '../../agent/kube/kube-objects.ts'
import { DemoProcess, FAST } from './demo-process.ts'
import type { Result, Stage } from './report.ts'

const SILENT = fileURLToPath(new URL('./fixtures/silent-workload.mjs', import.meta.url))

const OPERATED = { leaseName: 'langflow-leader-lock', leaseNamespace: null, context: null }

function resultOf(demo: DemoProcess): Result {
  return JSON.parse(demo.stdout.at(-1) ?? '') as Result
}

function checkTakeovers({ takeovers }: Result): void {
  assert.deepEqual(
    takeovers.map(({ kind }) => kind),
    ['crash', 'stop', 'hang'],
  )
  let leader = takeovers[0]?.from
  for (const { from, to, epoch, gapMs, detectMs, startMs, healthyMs, failedRequests } of takeovers) {
    assert.equal(from, leader)
    assert.notEqual(to, from)
    for (const measure of [epoch, gapMs, detectMs, startMs, healthyMs, failedRequests]) {
      assert.ok(Number.isInteger(measure) && measure >= 0, JSON.stringify(takeovers))
    }
    assert.ok(gapMs > 0)
    leader = to
  }
  const [crash, stop, hang] = takeovers
  assert.deepEqual([crash?.epoch, stop?.epoch, hang?.epoch], [2, 3, 4])
  // The handover does not wait for the Lease to run out, and the other two must.
  assert.ok(stop!.handoverMs! < 1_000 && stop!.oldDeadMs! <= stop!.detectMs, JSON.stringify(stop))
  // That it is dead may be confirmed late: what counts is that nothing of it executes, which the overlap is about.
  const { frozenMs, oldDeadMs, detectMs } = hang!
  assert.ok(frozenMs! > 0 && frozenMs! < detectMs && oldDeadMs! > frozenMs!, JSON.stringify(hang))
  assert.equal(crash?.oldDeadMs, null)
}

describe('demo', { concurrency: 2 }, () => {
  test('three takeovers, nothing acts twice, and one JSON object on the last line', async (t) => {
    const demo = new DemoProcess(['--json', ...FAST])
    t.after(() => demo.dispose())
    assert.equal(await demo.ended, 0)
    assert.deepEqual(demo.left(), [])
    const result = resultOf(demo)
    checkTakeovers(result)
    assert.equal(result.ok, true)
    assert.equal(result.overlapMs, 0)
    assert.equal(result.overlapFrom, 'beats')
    assert.ok(result.samples > 100)
    assert.ok(result.requests.sent > result.requests.failed)
    assert.equal(result.logs, null)
    assert.equal(demo.stdout.length, 1)
    const told = demo.stderr.join('\n')
    assert.match(told, /1 of 3: crash of replica-[abc]: SIGKILL/)
    assert.match(told, /│ hang {2}│ [abc] -> [abc] │ {5}4 │/)
    assert.match(told, /Two replicas acting at once: 0 ms, from/)
    assert.ok(!told.includes('\u001b'), 'a pipe gets no colours')
  })

  test('a workload that writes no beats is judged by the answers of its ports', async (t) => {
    const demo = new DemoProcess(['--json', '--command', `'${process.execPath}' '${SILENT}'`, ...FAST])
    t.after(() => demo.dispose())
    assert.equal(await demo.ended, 0, demo.stderr.join('\n'))
    const result = resultOf(demo)
    checkTakeovers(result)
    assert.equal(result.overlapMs, 0)
    assert.equal(result.overlapFrom, 'answers')
    assert.match(demo.stderr.join('\n'), /since this workload writes no beats/)
    assert.deepEqual(demo.left(), [])
  })

  test('one that stays can be operated by its kubeconfig, and a pod that is deleted comes back as another', async (t) => {
    const demo = new DemoProcess(['--stay', '--json', ...FAST], {
      LANGFLOW_LOAD_FLOWS_PATH: dirname(SILENT),
      LANGFLOW_SECRET_KEY: 'k'.repeat(43),
    })
    t.after(() => demo.dispose())
    await demo.line(/^\{/)
    const stage = JSON.parse(demo.stdout[0] ?? '') as Stage
    assert.deepEqual(Object.keys(stage.agents), ['replica-a', 'replica-b', 'replica-c'])
    assert.equal(statSync(stage.kubeconfig).mode & 0o777, 0o600)
    const cluster = await Cluster.connect({ ...OPERATED, kubeconfig: stage.kubeconfig })
    t.after(() => cluster.close())
    const rows = await cluster.replicas()
    const leader = holderRow(await cluster.lease(), rows)!.pod
    assert.deepEqual(
      rows.map(({ pod, status }) => [pod, status?.couldTakeOver]),
      ['replica-a', 'replica-b', 'replica-c'].map((pod) => [pod, pod !== leader]),
    )
    // From the launcher's container to whoever asks the agent.
    const digests = rows.map(({ status }) => `${status?.flowsDigest} ${status?.secretKeyDigest}`)
    assert.match(digests[0]!, /^[0-9a-f]{12} [0-9a-f]{8}$/)
    assert.deepEqual(new Set(digests).size, 1)
    const seen = await (await fetch(`${stage.agents[leader]}/replicas`)).json()
    assert.equal((seen as unknown[]).length, 3)

    const { objects } = cluster
    const { uid } = (await objects.get(POD, leader, 5_000)).metadata
    const deleted = `/api/v1/namespaces/default/pods/${leader}`
    const { clusters } = JSON.parse(readFileSync(stage.kubeconfig, 'utf8'))
    const deletion = `${clusters[0].cluster.server}${deleted}?gracePeriodSeconds=0`
    await fetch(deletion, { method: 'DELETE' })
    assert.notEqual((await objects.get(POD, leader, 5_000)).metadata.uid, uid)
    await demo.toldAfter(/ended \(SIGKILL\); it comes back/, new RegExp(`${leader}  stands by`))
    await demo.toldAfter(/ended \(SIGKILL\); it comes back/, / serves: /)

    demo.signal('SIGINT')
    assert.equal(await demo.ended, 130)
    assert.deepEqual(demo.left(), [])
  })

  for (const [what, at, signal, code] of [
    ['Ctrl-C leaves nothing behind, not even a stopped agent', /3 of 3: hang/, 'SIGINT', 130],
    ['a demo that is killed leaves nothing behind', /1 of 3: crash/, 'SIGKILL', null],
    ['SIGTERM before anybody leads leaves nothing behind', /entrance/, 'SIGTERM', 143],
  ] as const)
    test(what, async (t) => {
      const demo = new DemoProcess(FAST)
      t.after(() => demo.dispose())
      await demo.line(at)
      demo.signal(signal)
      assert.equal(await demo.ended, code)
      // What is killed cannot wait for what clears up behind it.
      if (code === null) return demo.gone()
      assert.deepEqual(demo.left(), [])
      assert.match(demo.stderr.at(-1) ?? '', new RegExp(`ended by ${signal}`))
    })

  test('a workload that never runs is told in one sentence, and the logs stay', async (t) => {
    const demo = new DemoProcess(['--command', `'${process.execPath}' -e 'process.exit(3)'`, ...FAST])
    t.after(() => demo.dispose())
    assert.equal(await demo.ended, 1)
    assert.match(
      demo.stderr.join('\n'),
      /^langflow-leader: 3 leaders in a row .* \(exit code 3\): see the logs in \S+\/logs$/,
    )
    assert.deepEqual(demo.alive(), [])
    assert.ok(demo.files().every((file) => /^[^/]+(?:\/logs(?:\/.*)?)?$/.test(file)))
    assert.ok(demo.files().some((file) => file.endsWith('/logs/replica-a.log')))
  })

  test('bad input is one line, and nothing is started', async (t) => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    t.after(() => taken.close())
    const { port } = taken.address() as { port: number }
    for (const [args, code, sentence] of [
      [['--command', 'no-such-program run'], 2, /there is no program no-such-program in PATH/],
      [['--command', '"langflow'], 2, /the quote " is not closed/],
      [['--lease-duration=5s'], 2, /set --lease-duration to at least 12s/],
      [[`--listen=127.0.0.1:${port}`], 1, /127\.0\.0\.1:\d+ \(the port is in use\): give another --listen/],
    ] as const) {
      const demo = new DemoProcess(args)
      assert.equal(await demo.ended, code)
      assert.deepEqual(demo.stdout, [])
      assert.equal(demo.stderr.length, 1, demo.stderr.join('\n'))
      assert.match(demo.stderr[0] ?? '', sentence)
      assert.deepEqual(demo.files(), [])
      await demo.dispose()
    }
  })
})

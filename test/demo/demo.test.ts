import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { DemoProcess } from './demo-process.ts'
import type { Result } from './report.ts'

describe('demo', { concurrency: 2 }, () => {
  test('three takeovers leave no overlap, and the planned stop fails no request', async (t) => {
    const demo = new DemoProcess(['--json', '--fast'])
    t.after(() => demo.dispose())
    assert.equal(await demo.ended, 0, demo.stderr.join('\n'))
    assert.deepEqual(demo.left(), [])
    assert.equal(demo.stdout.length, 1)
    const { ok, overlapMs, beats, requests, takeovers } = JSON.parse(demo.stdout[0] ?? '') as Result
    assert.deepEqual([ok, overlapMs], [true, 0])
    assert.ok(beats > 100 && requests.sent > requests.failed)
    const codes = takeovers.map(({ kind, code }) => `${kind}: ${code}`)
    assert.deepEqual(codes, ['crash: expired', 'stop: released', 'hang: expired'])
    const [crash, stop, hang] = takeovers.map(({ epoch }) => epoch)
    assert.ok(1 < crash! && crash! < stop! && stop! < hang!, JSON.stringify(takeovers))
    assert.equal(takeovers[1]!.failedRequests, 0)
  })

  for (const [what, at, signal, code] of [
    [
      'Ctrl-C ends every process, even a stopped agent, and removes every file',
      /3 of 3: hang/,
      'SIGINT',
      130,
    ],
    ['a killed demo leaves no process and no file', /1 of 3: crash/, 'SIGKILL', null],
  ] as const)
    test(what, async (t) => {
      const demo = new DemoProcess(['--fast'])
      t.after(() => demo.dispose())
      await demo.line(at)
      demo.signal(signal)
      assert.equal(await demo.ended, code)
      // After SIGKILL, the cleanup process may outlive the demo for a moment.
      if (code === null) return demo.gone()
      assert.deepEqual(demo.left(), [])
    })

  test('the demo refuses an unknown flag', async (t) => {
    const demo = new DemoProcess(['--listen=:80'])
    t.after(() => demo.dispose())
    assert.equal(await demo.ended, 2)
    assert.match(demo.stderr.join('\n'), /--listen.*\n.*usage: /s)
    assert.deepEqual(demo.left(), [])
  })
})

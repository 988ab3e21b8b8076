import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parse } from '../config/commands.ts'

const CLUSTER = {
  leaseName: 'langflow-leader-lock',
  leaseNamespace: null,
  kubeconfig: null,
  context: null,
  url: null,
  output: 'table',
}

describe('what switchover, pause and resume are told', () => {
  test('is nothing but to ask, and to wait for two minutes, by default', async () => {
    const { switchover } = await parse(['switchover'])
    assert.deepEqual(switchover, { to: null, yes: false, wait: true, timeoutMs: 120_000, ...CLUSTER })
    assert.deepEqual((await parse(['pause'])).pause, { forMs: null, reason: null, ...CLUSTER })
    assert.deepEqual((await parse(['resume'])).resume, CLUSTER)
  })

  test('names a pod as kubectl prints it, by its name alone, or none', async () => {
    for (const [text, to] of [
      ['pod/langflow-1', 'langflow-1'],
      ['langflow-1', 'langflow-1'],
      ['*', '*'],
    ])
      assert.equal((await parse(['switchover', '--to', text as string])).switchover?.to, to)
  })

  test('is to wait, or not, as with kubectl', async () => {
    const waits = async (...args: string[]) => (await parse(['switchover', ...args])).switchover?.wait
    assert.deepEqual(
      [
        await waits('--wait'),
        await waits('--wait', '-y'),
        await waits('--wait=true'),
        await waits('--wait=false'),
      ],
      [true, true, true, false],
    )
  })

  test('is how long and why', async () => {
    const { pause } = await parse(['pause', '--for', '1h30m', '--reason', ' database upgrade '])
    assert.deepEqual([pause?.forMs, pause?.reason], [5_400_000, 'database upgrade'])
  })

  const wrong: readonly (readonly [args: readonly string[], problem: RegExp])[] = [
    [
      ['switchover', '--to', 'Pod 1'],
      /--to 'Pod 1': give the name of a pod, such as langflow-1, or leave it out/,
    ],
    [['switchover', '--wait=maybe'], /--wait 'maybe': use true or false/],
    [['switchover', '--timeout', '0'], /--timeout '0': use at least 1s/],
    [['pause', '--for', '30'], /--for '30': a duration needs a unit, such as 30s or 30ms/],
    [['pause', '--for', '2h26h'], /use at most 24h/],
    [['pause', '--reason', ' '], /--reason ' ': say why, or leave it out/],
    [['pause', '--reason', 'a\nb'], /use one line, without control characters/],
    [['pause', '--reason', 'x'.repeat(201)], /use at most 200 characters/],
  ]
  for (const [args, problem] of wrong)
    test(`is a usage error: ${args.join(' ').slice(0, 40).replace('\n', ' ')}`, async () => {
      await assert.rejects(parse([...args]), { name: 'UsageError', message: problem })
    })
})

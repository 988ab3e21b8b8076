import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from '../config/commands.ts'

const CLUSTER = {
  leaseName: null,
  leaseNamespace: null,
  kubeconfig: null,
  context: null,
  url: null,
  output: 'table',
}

describe('the flags of commands for people', () => {
  test('default to a check, and a wait of two minutes', async () => {
    const { switchover } = await parse(['switchover'])
    const own = { reason: null, yes: false, timeoutMs: 120_000 }
    assert.deepEqual(switchover, { to: null, now: false, ...own, ...CLUSTER })
    const { failover } = await parse(['failover'])
    assert.deepEqual(failover, { to: null, membersDead: false, ...own, ...CLUSTER })
    assert.deepEqual((await parse(['restart'])).restart, { inPlace: false, now: false, ...own, ...CLUSTER })
    assert.deepEqual((await parse(['pause'])).pause, { forMs: null, reason: null, ...CLUSTER })
    assert.deepEqual((await parse(['resume'])).resume, CLUSTER)
    assert.deepEqual((await parse(['history'])).history, CLUSTER)
  })

  test("include kubectl's flags and their short forms", async () => {
    for (const namespace of ['-n', '--namespace']) {
      const args = ['status', namespace, 'team', '-o', 'wide', '--context', 'prod']
      const at = { ...CLUSTER, leaseNamespace: 'team', context: 'prod' }
      assert.deepEqual((await parse(args)).status, { ...at, output: 'wide' })
    }
  })

  test('accept a relative path for the kubeconfig', async () => {
    const { status } = await parse(['status', '--kubeconfig', 'kube/config'])
    assert.equal(status?.kubeconfig, join(process.cwd(), 'kube/config'))
  })

  test('accept a pod as kubectl prints it, its name, or *', async () => {
    for (const [text, to] of Object.entries({
      'pod/langflow-1': 'langflow-1',
      'langflow-1': 'langflow-1',
      '*': '*',
    }))
      assert.equal((await parse(['switchover', '--to', text])).switchover?.to, to)
  })

  test('set the duration and the reason of a pause', async () => {
    const { pause } = await parse(['pause', '--for', '1h30m', '--reason', ' database upgrade '])
    assert.deepEqual([pause?.forMs, pause?.reason], [5_400_000, 'database upgrade'])
  })

  test('are not set by variables', async () => {
    const { history } = await parse(['history'], { LEADER_LEASE_NAME: 'lock' })
    assert.equal(history?.leaseName, null)
  })

  test('of a drill leave its API key to the environment', async () => {
    const { drill } = await parse(['drill', '--service=https://example.org/'], { LEADER_API_KEY: 'sk-1' })
    assert.equal(drill?.apiKey, 'sk-1')
  })

  const wrong: readonly (readonly [args: readonly string[], problem: RegExp])[] = [
    [['switchover', '--timeout', '0'], /--timeout '0': use at least 1s/],
    [['pause', '--for', '30'], /--for '30': a duration needs a unit/],
    [['pause', '--for', '2h26h'], /use at most 24h/],
    [['pause', '--reason', ' '], /--reason ' ': give a reason/],
    [['pause', '--reason', 'a\nb'], /one line/],
    [['pause', '--reason', 'x'.repeat(201)], /at most 200 characters/],
    [['status', '-n', 'Team'], /--namespace 'Team': use at most 63 lower-case/],
    [['status', '--url', '127.0.0.1:8090'], /--url '127.0.0.1:8090': use an http or https URL/],
    [['history', '-o', 'wide'], /--output 'wide': use one of table, json, yaml/],
    [['drill'], /: add --service, such as --service http:\/\/langflow:7860;/],
  ]
  for (const [args, problem] of wrong)
    test(`are a usage error: ${args.join(' ').slice(0, 40).replace('\n', ' ')}`, async () => {
      await assert.rejects(parse([...args]), { name: 'UsageError', message: problem })
    })
})

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from '../config/commands.ts'

describe('what a command that operates is told', () => {
  test('is as kubectl has it, with its one-letter flags', async () => {
    const args = ['status', '-n', 'team', '-o', 'wide', '-w', '--context', 'prod']
    assert.deepEqual((await parse(args)).status, {
      leaseName: 'langflow-leader-lock',
      leaseNamespace: 'team',
      kubeconfig: null,
      context: 'prod',
      url: null,
      output: 'wide',
      watch: true,
    })
  })

  test('may name a kubeconfig from where one stands', async () => {
    const { status } = await parse(['status', '--kubeconfig', 'kube/config'])
    assert.equal(status?.kubeconfig, join(process.cwd(), 'kube/config'))
  })

  test('comes from its flags alone, also in a container of an agent', async () => {
    const { history } = await parse(['history'], { LEADER_LEASE_NAME: 'lock' })
    assert.equal(history?.leaseName, 'langflow-leader-lock')
    await assert.rejects(parse(['history'], { LEADER_CONTEXT: 'prod' }), {
      name: 'UsageError',
      message: /unknown environment variable LEADER_CONTEXT /,
    })
  })

  const wrong: [args: string[], problem: RegExp][] = [
    [['status', '--url', '127.0.0.1:8090'], /--url '127.0.0.1:8090': write it as an http or https URL/],
    [
      ['status', '--url', 'http://a', '-n', 'b'],
      /--lease-namespace means nothing to --url, which asks no cluster: leave one out/,
    ],
    [['history', '-o', 'wide'], /--output 'wide': use one of table, json, yaml/],
  ]
  for (const [args, problem] of wrong)
    test(`is a usage error: ${args.join(' ')}`, async () => {
      await assert.rejects(parse(args), { name: 'UsageError', message: problem })
    })
})

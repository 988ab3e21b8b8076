import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseDrill } from './drill-arguments.ts'

const SERVICE = '--service=https://example.org/langflow/'

test('flags that are not given have their defaults', async () => {
  const { scenario, service, flow, apiKey, rtoMs, timeoutMs, yes, output } = await parseDrill([SERVICE])
  assert.deepEqual([scenario, output, yes], ['switchover', 'table', false])
  assert.equal(service.href, 'https://example.org/langflow/')
  assert.deepEqual([flow, apiKey], [null, null])
  assert.deepEqual([rtoMs, timeoutMs], [30_000, 600_000])
})

test('the API key is read only from the environment', async () => {
  assert.equal((await parseDrill([SERVICE], { LEADER_API_KEY: 'sk-1' })).apiKey, 'sk-1')
})

describe('a usage error', () => {
  const cases: [args: string[], env: NodeJS.ProcessEnv, message: RegExp][] = [
    [[], {}, /: add --service, such as --service http:\/\/langflow:7860;/],
    [['--service=langflow:7860'], {}, /--service 'langflow:7860': use an http or https URL/],
    [[SERVICE, '--rto=5'], {}, /--rto '5': a duration needs a unit/],
    [
      [SERVICE, '--scenario=node'],
      {},
      /--scenario 'node': use one of switchover, delete-pod, force-delete-pod/,
    ],
  ]
  for (const [args, env, message] of cases)
    test(`${args.join(' ') || 'no flag'} is an error with a remedy`, () =>
      assert.rejects(parseDrill(args, env), { exitCode: 2, message }))
})

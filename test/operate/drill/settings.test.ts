import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SCENARIOS } from '../../../agent/operate/drill/settings.ts'
import { drillSaid } from './said.ts'

const SERVICE = '--service=https://example.org/langflow/'

test('what is not said has its default', async () => {
  const { scenarios, service, flow, apiKey, perSecond, limits, timeoutMs, yes, report, keepIn } =
    await drillSaid([SERVICE])
  assert.deepEqual(scenarios, ['switchover'])
  assert.equal(service, 'https://example.org/langflow')
  assert.deepEqual([flow, apiKey, report, keepIn, yes], [null, null, null, null, false])
  assert.deepEqual([perSecond, limits, timeoutMs], [5, { rtoMs: 30_000, rpoRows: 0 }, 600_000])
})

test('all is every scenario', async () => {
  assert.deepEqual((await drillSaid([SERVICE, '--scenario=all'])).scenarios, SCENARIOS)
})

test('the API key is read from the environment, and from nowhere else', async () => {
  const env = { LEADER_API_KEY: 'sk-1' }
  assert.equal((await drillSaid([SERVICE, '--flow=echo'], env)).apiKey, 'sk-1')
  await assert.rejects(
    drillSaid([SERVICE, '--flow=echo', '--api-key=sk-1']),
    /unknown option '--api-key=sk-1'/,
  )
})

describe('a usage error', () => {
  const cases: [args: string[], env: NodeJS.ProcessEnv, told: RegExp][] = [
    [[], {}, /: say where users reach LangFlow: --service http:\/\/langflow:7860;/],
    [['--service=langflow:7860'], {}, /--service 'langflow:7860': write an http or https URL/],
    [['--service=http://me:secret@x'], {}, /'http:\/\/\*\*\*@x': leave out user and password/],
    [['--service=http://x/?a=b'], {}, /end it with the path at which LangFlow begins/],
    [[SERVICE, '--flow=a/b'], {}, /--flow 'a\/b': use the id of a flow, or its endpoint name/],
    [[SERVICE, '--rate=11'], {}, /--rate '11': use a whole number from 1 to 10/],
    [[SERVICE, '--rpo=-1'], {}, /--rpo '-1': use a whole number, such as 0/],
    [[SERVICE, '--rto=5'], {}, /--rto '5': a duration needs a unit/],
    [[SERVICE, '--scenario=node'], {}, /--scenario 'node': use one of switchover, crash-langflow/],
    [
      [SERVICE],
      { LEADER_API_KEY: 'sk-1' },
      /LEADER_API_KEY is of no use without a flow: name one with --flow/,
    ],
  ]
  for (const [args, env, told] of cases)
    test(`${args.join(' ') || 'nothing'} says what to write instead`, () =>
      assert.rejects(drillSaid(args, env), { exitCode: 2, message: told }))
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseDrill } from './drill-arguments.ts'

const SERVICE = '--service=https://example.org/langflow/'

test('the API key is read only from the environment', async () => {
  assert.equal((await parseDrill([SERVICE], { LEADER_API_KEY: 'sk-1' })).apiKey, 'sk-1')
})

describe('a usage error', () => {
  const cases: [args: string[], env: NodeJS.ProcessEnv, message: RegExp][] = [
    [[], {}, /: add --service, such as --service http:\/\/langflow:7860;/],
    [['--service=langflow:7860'], {}, /--service 'langflow:7860': use an http or https URL/],
  ]
  for (const [args, env, message] of cases)
    test(`${args.join(' ') || 'no flag'} is an error with a remedy`, () =>
      assert.rejects(parseDrill(args, env), { exitCode: 2, message }))
})

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { LOG_ENV } from '../../agent/cli/check/environment.ts'
import { parse } from '../config/commands.ts'
import { DEPLOY } from './manifests.ts'

describe('the systemd unit', () => {
  const text = readFileSync(join(DEPLOY, 'examples/systemd/langflow-leader.service'), 'utf8')
  const lines = text.replaceAll('\\\n', ' ').split('\n')
  const value = (name: string) => lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1)

  test('has a valid command and enough time for its stop', async () => {
    const words = value('ExecStart')!.split(/\s+/)
    assert.equal(words[1], '--disable-sigusr1')
    const { run } = await parse(words.slice(3))
    assert.deepEqual(run!.launcher.command.slice(0, 2), ['/opt/langflow/bin/langflow', 'run'])
    const { quietTimeoutMs, drainTimeoutMs, stopTimeoutMs, holdTimeoutMs, traffic } = run!.agent
    assert.equal(traffic.mode, 'front')
    const neededMs = quietTimeoutMs + drainTimeoutMs + stopTimeoutMs + holdTimeoutMs + 10_000
    assert.ok(Number(value('TimeoutStopSec')) * 1000 >= neededMs)
  })

  test('lets LangFlow answer without its database, sends SIGTERM only to the agent, and kills the rest', () => {
    assert.ok(lines.includes(`Environment=${LOG_ENV.name}=${LOG_ENV.value}`))
    const expected = {
      KillMode: 'mixed',
      OOMPolicy: 'continue',
      Restart: 'always',
      RestartPreventExitStatus: '2',
    }
    for (const [name, set] of Object.entries(expected)) assert.equal(value(name), set)
  })
})

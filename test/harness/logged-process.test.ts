import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LoggedProcess } from './logged-process.ts'

/** As LangFlow writes it with LANGFLOW_LOG_ENV=container. */
const LANGFLOWS = { pid: 7, event: 'serving', level: 'info', timestamp: '2026-11-29T00:00:00.000000Z' }
const OURS = { level: 'info', time: '2026-11-29T00:00:00.000Z', component: 'launcher', identity: 'a', pid: 8 }

test('JSON that the workload prints is no line of the replica', async () => {
  const texts = [OURS, null, 7, [], LANGFLOWS].map((value) => JSON.stringify(value)).concat('{"component":')
  const script = `console.log(${JSON.stringify(texts.join('\n'))})`
  const replica = new LoggedProcess('a', [process.execPath, '--eval', script])
  await replica.exited
  assert.deepEqual([replica.lines, replica.output], [[OURS], texts])
  assert.deepEqual([replica.events(), replica.lastNumber('pid')], [[], 8])
})

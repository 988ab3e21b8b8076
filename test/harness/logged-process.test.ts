import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LoggedProcess } from './logged-process.ts'

/** A line in the format of LangFlow with LANGFLOW_LOG_ENV=container. */
const LANGFLOW_LINE = { pid: 7, event: 'serving', level: 'info', timestamp: '2026-11-29T00:00:00.000000Z' }
const REPLICA_LINE = {
  level: 'info',
  time: '2026-11-29T00:00:00.000Z',
  component: 'launcher',
  identity: 'a',
  pid: 8,
}

test("JSON that the workload prints doesn't count as a log line of the replica", async () => {
  const texts = [REPLICA_LINE, null, 7, [], LANGFLOW_LINE]
    .map((value) => JSON.stringify(value))
    .concat('{"component":')
  const script = `console.log(${JSON.stringify(texts.join('\n'))})`
  const replica = new LoggedProcess('a', [process.execPath, '--eval', script])
  await replica.exited
  assert.deepEqual([replica.lines, replica.output], [[REPLICA_LINE], texts])
  assert.deepEqual([replica.events(), replica.lastNumber('pid')], [[], 8])
})

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { temporaryDirectory } from '../harness/temporary-directory.ts'

const MAIN = join(import.meta.dirname, '../../agent/main.ts')

/** Without a line that the test waits for, it fails after this time. */
const WITHIN = { timeout: 30_000 }

test('launch warns of an unknown version of LangFlow', WITHIN, async (t) => {
  const socket = join(temporaryDirectory(), 'none.sock')
  const words = [MAIN, 'launch', `--socket=${socket}`, '--', 'nice', 'langflow', 'run']
  const child = spawn(process.execPath, words, { env: {}, stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const expected = /^LangFlow's version cannot be read from this command/
  for await (const line of createInterface(child.stdout)) {
    const { level, component, msg } = JSON.parse(line)
    if (!expected.test(msg)) continue
    assert.deepEqual([level, component], ['warn', 'launcher'])
    return
  }
  assert.fail('launch did not warn')
})

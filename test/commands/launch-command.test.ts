import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'

const MAIN = join(import.meta.dirname, '../../agent/main.ts')

/** Without a line that the test waits for, it fails after this time. */
const WITHIN = { timeout: 30_000 }

test(
  'launch warns of an invalid secret key, without printing it, and of an unknown version of LangFlow',
  WITHIN,
  async (t) => {
    const scratch = mkdtempSync(join(tmpdir(), 'launch-test-'))
    const key = '0123456789abcdef'.repeat(4)
    const words = [MAIN, 'launch', `--socket=${join(scratch, 'none.sock')}`, '--', 'nice', 'langflow', 'run']
    const child = spawn(process.execPath, words, {
      env: { LANGFLOW_SECRET_KEY: key },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.after(async () => {
      child.kill('SIGKILL')
      await once(child, 'exit')
      rmSync(scratch, { recursive: true })
    })
    const expected = [
      /^LANGFLOW_SECRET_KEY is not 32 url-safe base64-encoded bytes: /,
      /^LangFlow's version cannot be read from this command, so an older LangFlow may use the database of a newer one: /,
    ]
    for await (const line of createInterface(child.stdout)) {
      assert.ok(!line.includes(key))
      const { level, component, msg } = JSON.parse(line)
      if (!expected[0]?.test(msg)) continue
      assert.deepEqual([level, component], ['warn', 'launcher'])
      expected.shift()
      if (expected.length === 0) return
    }
    assert.fail(`launch did not log ${expected}`)
  },
)

import { execFile, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

const skip = spawnSync('python3', ['--version']).status === 0 ? false : 'there is no python3'
const TESTS = join(import.meta.dirname, 'warm_langflow_test.py')

test('the Python of a warm standby passes its own tests', { skip }, async () => {
  await promisify(execFile)('python3', ['-W', 'error', TESTS])
})

import { execFile, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

const skip = spawnSync('python3', ['--version']).status === 0 ? false : 'python3 is not installed'
const TESTS = join(import.meta.dirname, 'warm_langflow_test.py')

test('warm_langflow.py passes its Python tests', { skip }, async () => {
  await promisify(execFile)('python3', ['-W', 'error', TESTS])
})

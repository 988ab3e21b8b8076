import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { noPython } from '../fixtures/write-files.ts'

const TESTS = join(import.meta.dirname, 'warm_langflow_test.py')

test('warm_langflow.py passes its Python tests', { skip: noPython }, async () => {
  await promisify(execFile)('python3', ['-W', 'error', TESTS])
})

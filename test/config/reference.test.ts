import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { PAGE, referencePage } from './reference.ts'

test('docs/reference.md lists the current flags (npm run reference writes it)', async () => {
  const page = readFileSync(PAGE, 'utf8')
  assert.equal(page, await referencePage(page))
})

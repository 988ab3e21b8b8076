import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { PAGE, referencePage } from './reference.ts'

test('docs/reference.md lists the flags as they are (npm run reference writes it)', async () => {
  const page = readFileSync(PAGE, 'utf8')
  assert.equal(page, await referencePage(page))
})

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { checkPage, PAGE } from './page.ts'

test('docs/check.md lists the current rules (npm run reference writes it)', () => {
  const page = readFileSync(PAGE, 'utf8')
  assert.equal(page, checkPage(page))
})

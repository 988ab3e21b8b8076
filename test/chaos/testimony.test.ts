import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { BUNDLE } from '../support/bundle.ts'
import type { Outcome } from './chaos.ts'
import { Violation } from './judge.ts'
import { testify } from './testimony.ts'

function again(t: TestContext, main: string): string | undefined {
  const evidence = mkdtempSync(join(tmpdir(), 'testimony-'))
  t.after(() => rmSync(evidence, { recursive: true }))
  const outcome = { minutes: 3, seed: 4, main, judge: { recent: [] }, strikes: { list: [] } }
  const text = testify(outcome as unknown as Outcome, new Violation('one acts', 'both acted'), evidence)
  return /^again: (.*)$/m.exec(text)?.[1]
}

test('a violation is told with the command that plays the run again', (t) => {
  assert.equal(again(t, BUNDLE), 'npm run chaos -- --minutes 3 --seed 4')
})

test('the command names the program where it was another one', (t) => {
  assert.equal(again(t, '/tmp/broken.mjs'), "npm run chaos -- --minutes 3 --seed 4 --main '/tmp/broken.mjs'")
  assert.equal(
    again(t, 'broken.mjs'),
    `npm run chaos -- --minutes 3 --seed 4 --main '${process.cwd()}/broken.mjs'`,
  )
})

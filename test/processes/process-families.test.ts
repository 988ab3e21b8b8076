import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { standBy } from './fixtures/bystanders.ts'
import { checkFamilies, VALUE, VARIABLE } from './fixtures/families.ts'
import { withNamespace } from './fixtures/namespace.ts'

test('whatever a family does and however it is ended, nothing of it lives, and nobody else was signalled', async (t) => {
  using others = await standBy(VARIABLE, [`${VALUE}0`, VALUE.slice(0, -1), 'another'])
  await checkFamilies(false, others, (sentence) => t.diagnostic(sentence))
})

async function inside(t: TestContext, where: string, reaped: boolean): Promise<void> {
  const use = async (unshare: ChildProcess) => {
    const ended = once(unshare, 'exit')
    const said = await text(unshare.stdout!)
    assert.deepEqual(await ended, [0, null], said)
    t.diagnostic(said.trim())
  }
  await withNamespace(t, ['families-inside.ts', where], use, { reaped })
}

test('the same in a PID namespace that the launcher has to itself', (t) => inside(t, 'alone', false))

test('the same in a PID namespace with others in it', (t) => inside(t, 'among-others', true))

test('whoever gets the pid of a member that has ended is not signalled', (t) =>
  inside(t, 'reused-pids', true))

import { test } from 'node:test'
import { standBy } from './fixtures/bystanders.ts'
import { checkFamilies, VALUE, VARIABLE } from './fixtures/families.ts'
import { inside } from './fixtures/namespace.ts'

test('whatever a family does and however it is ended, nothing of it lives, and nobody else was signalled', async (t) => {
  using others = await standBy(VARIABLE, [`${VALUE}0`, VALUE.slice(0, -1), 'another'])
  await checkFamilies(false, others, (sentence) => t.diagnostic(sentence))
})

test('the same in a PID namespace that the launcher has to itself', (t) => inside(t, 'alone, with families'))

test('the same in a PID namespace with others in it', (t) =>
  inside(t, 'among others, with families', { reaped: true }))

test('whoever gets the pid of a member that has ended is not signalled', (t) =>
  inside(t, 'reused pids', { reaped: true }))

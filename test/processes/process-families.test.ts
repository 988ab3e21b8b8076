import { test } from 'node:test'
import { standBy } from './fixtures/bystanders.ts'
import { checkFamilies, VALUE, VARIABLE } from './fixtures/families.ts'
import { inside } from './fixtures/namespace.ts'

test('every generated process family is dead after its kill, and no other process got a signal', async (t) => {
  using others = await standBy(VARIABLE, [`${VALUE}0`, VALUE.slice(0, -1), 'another'])
  await checkFamilies(false, others, (sentence) => t.diagnostic(sentence))
})

test('process families die in a PID namespace that only the launcher uses', (t) =>
  inside(t, 'alone, with families', { reaps: true }))

test('process families die, and no other process gets a signal, in a shared PID namespace', (t) =>
  inside(t, 'among others, with families', { reaped: true }))

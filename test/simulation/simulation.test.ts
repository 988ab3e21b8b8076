import assert from 'node:assert/strict'
import { test } from 'node:test'
import { playUntilFailure } from './play.ts'
import { report } from './shrink.ts'
import { World } from './world.ts'

const SEEDS = 100_000
/** As many runs as this allows; a machine that is slow or busy plays fewer. */
const BUDGET_MS = 25_000
const FEWEST_RUNS = 1_000

test('no run breaks an invariant', async (t) => {
  const { runs, steps, excused, failure } = await playUntilFailure(1, SEEDS, performance.now() + BUDGET_MS)
  t.diagnostic(`${runs} runs, ${steps} steps; in ${excused} something acted within a documented limit`)
  assert.equal(failure, null, failure === null ? '' : await report(failure))
  assert.ok(runs >= FEWEST_RUNS, `only ${runs} runs were played: too few to mean anything`)
})

test('a seed plays the same run each time', async () => {
  const [first, second] = [
    await new World(7, { trace: true }).play(),
    await new World(7, { trace: true }).play(),
  ]
  assert.deepEqual(first.trace, second.trace)
  assert.equal(first.steps, second.steps)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { STAGES } from './agent-host.ts'
import { FAULTS, KINDS } from './faults/kinds.ts'
import { FAULT_TABLE, type Row } from './faults/table.ts'
import { playUntilFailure } from './play.ts'
import { report } from './shrink.ts'
import { World } from './world.ts'

const RUNS = 5_000
/** Each kind of fault must have found something to strike this often. */
const FEWEST_STRIKES = 30

test('no run breaks an invariant, whatever goes wrong', async (t) => {
  const { tally, failure } = await playUntilFailure(1, RUNS)
  const { runs, simulatedHours, takeovers, limits, delays } = tally
  t.diagnostic(`${runs} runs, ${simulatedHours.toFixed(0)} simulated hours, ${takeovers} takeovers`)
  for (const [limit, count] of limits) t.diagnostic(`${count} runs came to a documented limit: ${limit}`)
  for (const [delay, count] of delays) t.diagnostic(`${count} runs took longer at their end: ${delay}`)
  assert.equal(failure, null, failure === null ? '' : await report(failure))
  const rare = KINDS.filter((kind) => (tally.faults.get(kind) ?? 0) < FEWEST_STRIKES)
  assert.deepEqual(rare, [], `every kind of fault strikes at least ${FEWEST_STRIKES} times`)
  const untold = STAGES.filter((stage) => !tally.asked.has(stage))
  assert.deepEqual(untold, [], 'agents are told to end at every stage')
})

test('every row of the fault table is played', () => {
  const played = new Set<Row>(KINDS.flatMap((kind) => FAULTS[kind].rows))
  assert.deepEqual(
    Object.keys(FAULT_TABLE).filter((row) => !played.has(row as Row)),
    [],
  )
})

test('a seed plays the same run each time', async () => {
  for (const seed of [7, 8, 9]) {
    const [first, second] = [
      await new World(seed, { trace: true }).play(),
      await new World(seed, { trace: true }).play(),
    ]
    assert.deepEqual(first.trace, second.trace)
    assert.equal(first.steps, second.steps)
  }
})

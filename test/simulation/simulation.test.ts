import assert from 'node:assert/strict'
import { test } from 'node:test'
import { STAGES } from './agent-host.ts'
import { type Fault, ROWS, type Row } from './faults/fault.ts'
import { FAULTS, KINDS } from './faults/kinds.ts'
import { playUntilFailure } from './play.ts'
import { replayCommand, report, shrink } from './shrink.ts'
import { Violation } from './violation.ts'
import { type Outcome, World } from './world.ts'

const RUNS = 1_500
/** Each kind of fault must have found a target this often. */
const FEWEST_STRIKES = 8
const FEWEST_RESTARTS = 40

test('no combination of faults breaks an invariant', async (t) => {
  const { tally, failure } = await playUntilFailure(1, RUNS)
  const { runs, simulatedHours, takeovers, restarts, limits, delays } = tally
  t.diagnostic(
    `${runs} runs, ${simulatedHours.toFixed(0)} simulated hours, ${takeovers} takeovers, ${restarts} restarts in place`,
  )
  for (const [limit, count] of limits)
    t.diagnostic(`${count} runs had an incident that a documented limit excuses: ${limit}`)
  for (const [delay, count] of delays) t.diagnostic(`${count} runs took longer to recover: ${delay}`)
  assert.equal(failure, null, failure === null ? '' : await report(failure))
  const rare = KINDS.filter((kind) => (tally.faults.get(kind) ?? 0) < FEWEST_STRIKES)
  assert.deepEqual(rare, [], `each kind of fault must find a target at least ${FEWEST_STRIKES} times`)
  assert.ok(
    restarts >= FEWEST_RESTARTS,
    `only ${restarts} restarts in place, instead of ${FEWEST_RESTARTS} or more`,
  )
  const missing = STAGES.filter((stage) => !tally.terminatedAt.has(stage))
  assert.deepEqual(missing, [], 'an agent must be terminated at least once at each stage')
})

test('the simulation plays each row of the fault table that it can model', () => {
  const played = new Set<Row>(KINDS.flatMap((kind) => FAULTS[kind].rows))
  assert.deepEqual(
    ROWS.filter((row) => !played.has(`T${row}`)),
    [],
  )
})

test('shrink removes each fault that a failure does not need', async () => {
  const whole = await new World(7).play()
  const plan = [0, 1, 2, 3, 4, 5].map((id) => ({ ...(whole.plan[0] as Fault), id }))
  const violation = new Violation('rule 3', 'too early')
  const play = async (_seed: number, keep: readonly number[]): Promise<Outcome> => ({
    ...whole,
    plan: plan.filter(({ id }) => keep.includes(id)),
    violation: keep.includes(2) && keep.includes(5) ? violation : new Violation('rule 9', 'another one'),
  })
  const small = await shrink({ ...whole, plan, violation }, play)
  assert.deepEqual([small.plan.map(({ id }) => id), small.violation], [[2, 5], violation])
  assert.equal(replayCommand(small), 'npm run test:soak -- --seed 7 --keep 2,5 --trace')
})

test('a watch that lacks the change of a refused write is checked', async () => {
  // Of all seeds that were played, one combined the faults in this way.
  const { violation } = await new World(139916258, { keep: [5, 3, 1, 2] }).play()
  assert.equal(violation, null)
})

test('a seed plays the same run each time', async () => {
  for (const seed of [7, 8, 9]) {
    const first = await new World(seed, { trace: true }).play()
    const second = await new World(seed, { trace: true }).play()
    assert.deepEqual(first.trace, second.trace)
    assert.equal(first.steps, second.steps)
  }
})

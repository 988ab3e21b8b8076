import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Loop } from '../agent/loop.ts'

interface Steps {
  readonly taken: readonly string[]
  readonly effects: readonly string[]
}

/** Each event has its letters as effects. */
const step = ({ taken }: Steps, event: string): Steps => ({ taken: [...taken, event], effects: [...event] })

test('effects are carried out in order, and the events that they cause after them', () => {
  const lines: string[] = []
  const loop = new Loop<Steps, string, string>(
    { taken: [], effects: [] },
    {
      step,
      carryOut: (effect) => {
        lines.push(effect)
        if (effect === 'a') loop.dispatch('xy')
      },
      settled: ({ taken }, before) => lines.push(`${taken.length} after ${before.taken.length}`),
    },
  )
  loop.dispatch('ab')
  assert.deepEqual(lines, ['a', 'b', '1 after 0', 'x', 'y', '2 after 1'])
  assert.deepEqual(loop.state.taken, ['ab', 'xy'])
})

test('an effect that throws does not end the loop', () => {
  const carried: string[] = []
  const loop = new Loop<Steps, string, string>(
    { taken: [], effects: [] },
    {
      step,
      carryOut: (effect) => {
        if (effect === 'a') throw new Error('no')
        carried.push(effect)
      },
    },
  )
  assert.throws(() => loop.dispatch('ab'))
  loop.dispatch('c')
  assert.deepEqual(carried, ['c'])
})

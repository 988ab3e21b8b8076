import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { checkUntil } from '../../../agent/cli/check/check-until.ts'
import { factsOf } from '../../../agent/cli/check/installation.ts'
import type { Facts } from '../../../agent/cli/check/rule.ts'
import { OperationError } from '../../../agent/cli/exit-codes.ts'
import { manifestOf } from '../../../agent/cli/manifests/manifest.ts'
import type { Clock } from '../../../agent/clock.ts'
import { healthy } from './facts.ts'

const BROKEN = factsOf([], null)
const WELL = factsOf(healthy().map(manifestOf), null)
const SILENT = new OperationError('unreachable', 'no answer')

/** The number of checks until the outcome, and whether it is well. Each check takes its turn of `steps`; the last one stays. */
async function checks(waitMs: number, ...steps: (Facts | Error)[]) {
  let now = 0
  const clock = {
    mono: () => now,
    after(delayMs: number, fire: () => void) {
      now += delayMs
      queueMicrotask(fire)
      return { cancel() {} }
    },
  } as Clock
  let count = 0
  const gather = async () => {
    const step = steps[Math.min(count++, steps.length - 1)]!
    if (step instanceof Error) throw step
    return step
  }
  const results = await checkUntil(gather, { failOn: 'error', waitMs }, clock)
  return [count, results.every(({ outcome }) => outcome === 'ok')]
}

describe('--wait', () => {
  test('ends with the first check that passes', async () => {
    assert.deepEqual(await checks(60_000, BROKEN, SILENT, WELL, BROKEN), [3, true])
  })

  test('ends with the last check in its time', async () => {
    assert.deepEqual(await checks(0, BROKEN), [1, false])
    assert.deepEqual(await checks(5_000, BROKEN), [3, false])
  })

  test('fails at once for an error that time does not mend, and at its end for an API server without an answer', async () => {
    await assert.rejects(checks(60_000, new OperationError('no_rights', 'refused'), WELL), {
      code: 'no_rights',
    })
    await assert.rejects(checks(5_000, SILENT), { code: 'unreachable' })
  })
})

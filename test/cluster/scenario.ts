import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { evidenceOf } from './evidence.ts'
import type { Installation } from './installation.ts'

/**
 * A test of an installation that others use as well. Whatever it does, in the end nothing must have acted or answered
 * that was not the leader. When it fails, what is needed to understand it is printed.
 */
export function scenario(
  name: string,
  installation: () => Installation,
  play: (installation: Installation, t: TestContext) => Promise<void>,
): void {
  test(name, async (t) => {
    const one = installation()
    try {
      await play(one, t)
      assert.deepEqual(one.violations(), [])
    } catch (error) {
      process.stderr.write(`${name}\n${await evidenceOf(one)}\n`)
      throw error
    }
  })
}

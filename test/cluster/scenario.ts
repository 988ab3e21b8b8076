import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { Installation, type InstallationOptions } from './installation.ts'
import { Kube } from './kube.ts'

/**
 * Registers tests that share one installation, from before the first until after the last. After each test, only leaders must
 * have acted and answered. If a test fails, it prints the evidence of the installation.
 */
export function scenariosOn(options: InstallationOptions = {}) {
  const kube = new Kube()
  let one: Installation
  before(async () => {
    one = await Installation.start(kube, options)
  })
  after(async () => {
    await one?.close()
    await kube.close()
  })
  return (name: string, play: (one: Installation, t: TestContext) => Promise<void>): void => {
    test(name, async (t) => {
      try {
        await play(one, t)
        assert.deepEqual(one.violations(), [])
      } catch (error) {
        process.stderr.write(`${name}\n${await one.evidence()}\n`)
        throw error
      }
    })
  }
}

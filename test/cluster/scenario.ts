import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { Installation, type InstallationOptions } from './installation.ts'
import { Kube } from './kube.ts'

/**
 * Tests of one installation, which is made before the first and removed after the last. Whatever a test does, in the end
 * nothing must have acted or answered that was not the leader. When it fails, what is needed to understand it is printed.
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

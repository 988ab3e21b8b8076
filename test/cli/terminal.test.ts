import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import { confirm } from '../../agent/cli/terminal.ts'

function asked(signal = new AbortController().signal) {
  const input = new PassThrough()
  const output = new PassThrough()
  return { input, output, answer: confirm({ input, output }, 'Switch over?', signal) }
}

describe('a confirmation', () => {
  test('requires y or yes', async () => {
    for (const word of ['y', 'Yes', ' YES ']) {
      const { input, output, answer } = asked()
      input.write(`${word}\n`)
      await answer
      assert.equal(String(output.read()), 'Switch over? [y/N] ')
    }
    for (const word of ['', 'n', 'yesterday', 'sure']) {
      const { input, answer } = asked()
      input.write(`${word}\n`)
      await assert.rejects(answer, { code: 'declined', message: 'not confirmed: nothing was done' })
    }
  })

  test('is declined if the input is closed', async () => {
    const { input, answer } = asked()
    input.end()
    await assert.rejects(answer, { code: 'declined' })
  })

  test('can be interrupted', async () => {
    const ctrlC = new AbortController()
    const { answer } = asked(ctrlC.signal)
    ctrlC.abort()
    await assert.rejects(answer, { code: 'interrupted', message: 'interrupted: nothing was done' })
  })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseOptions, UsageError } from './options.ts'

const MAIN = ['--main', import.meta.filename]

describe('the options of a chaos run', () => {
  test('are 10 minutes and a seed of its own by default', () => {
    const options = parseOptions(MAIN)
    assert.ok(options !== 'help')
    assert.equal(options.minutes, 10)
    assert.ok(Number.isInteger(options.seed))
    assert.equal(options.report, undefined)
  })

  test('are taken as they are given', () => {
    const options = parseOptions([...MAIN, '--minutes', '1.5', '--seed', '7', '--report', 'out/chaos'])
    assert.deepEqual(options, { minutes: 1.5, seed: 7, report: 'out/chaos', main: import.meta.filename })
  })

  for (const [args, sentence] of [
    [['--minutes', '0'], /--minutes must be a number from 1 to 1440, not "0"/],
    [['--minutes', 'ten'], /--minutes must be a number/],
    [['--minutes', ''], /--minutes must be a number/],
    [['--seed', '-1'], /--seed/],
    [['--seed', '1.5'], /--seed must be a whole number, not "1.5"/],
    [['--report', ''], /--report must name a file/],
    [['--main', 'nowhere.mjs'], /--main: there is no file nowhere\.mjs/],
    [['--forever'], /--forever/],
    [['5'], /5/],
  ] as const) {
    test(`are refused with one sentence: ${args.join(' ')}`, () => {
      assert.throws(
        () => parseOptions([...(args[0] === '--main' ? [] : MAIN), ...args]),
        (error) =>
          error instanceof UsageError && sentence.test(error.message) && !error.message.includes('\n'),
      )
    })
  }
})

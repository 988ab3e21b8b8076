import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parseOptions, UsageError } from './options.ts'

const MAIN = ['--main', import.meta.filename]
const REPORT = join(tmpdir(), 'chaos')

describe('the options of a chaos run', () => {
  test('are 10 minutes and a seed of its own by default', () => {
    const options = parseOptions(MAIN)
    assert.ok(options !== 'help')
    assert.equal(options.minutes, 10)
    assert.ok(Number.isInteger(options.seed))
    assert.equal(options.report, undefined)
  })

  test('are taken as they are given', () => {
    const options = parseOptions([...MAIN, '--minutes', '1.5', '--seed', '7', '--report', REPORT])
    assert.deepEqual(options, { minutes: 1.5, seed: 7, report: REPORT, main: import.meta.filename })
  })

  for (const [args, sentence] of [
    [['--minutes', '0'], /--minutes must be a number from 1 to 1440, not "0"/],
    [['--minutes', 'ten'], /--minutes must be a number/],
    [['--minutes', ''], /--minutes must be a number/],
    [['--minutes', '-1'], /^--minutes must be a number from 1 to 1440, not "-1"$/],
    [['--seed', '-1'], /^--seed must be a number from 0 to 4294967295, not "-1"$/],
    [['--seed=-1'], /^--seed must be a number from 0 to 4294967295, not "-1"$/],
    [['--seed', '--minutes', '3'], /^Option '--seed' argument is ambiguous$/],
    [['--seed', '1.5'], /--seed must be a whole number, not "1.5"/],
    [['--report', ''], /--report must name a file/],
    [['--report', `${import.meta.dirname}/`], /--report must name a file/],
    [['--report', 'nodir/x'], /^--report: there is no directory nodir$/],
    [['--report', join(import.meta.filename, 'x')], /^--report: there is no directory .*options\.test\.ts$/],
    [['--main', 'nowhere.mjs'], /--main: there is no file nowhere\.mjs/],
    [['--forever'], /^Unknown option '--forever'$/],
    [['5'], /^Unexpected argument '5'$/],
  ] as const) {
    test(`are refused with one sentence: ${args.join(' ')}`, () => {
      assert.throws(
        () => parseOptions([...(args[0] === '--main' ? [] : MAIN), ...args]),
        (error) =>
          error instanceof UsageError && sentence.test(error.message) && !error.message.includes('\n'),
      )
    })
  }

  test('are refused with one sentence: a report where nothing may be written', {
    skip: process.getuid?.() === 0 && 'root may write anywhere',
  }, (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'chaos-options-'))
    t.after(() => rmSync(directory, { recursive: true }))
    chmodSync(directory, 0o555)
    assert.throws(
      () => parseOptions([...MAIN, '--report', join(directory, 'x')]),
      new UsageError(`--report: the directory ${directory} cannot be written to`),
    )
  })
})

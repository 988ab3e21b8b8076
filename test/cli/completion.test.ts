import assert from 'node:assert/strict'
import { test } from 'node:test'
import { complete } from '../../agent/cli/completion-command.ts'
import { createProgram } from '../../agent/config/command-line.ts'
import { addSettings, choice, group, onOff } from '../../agent/config/setting.ts'

test('the names of commands and flags are completed', () => {
  const program = createProgram({})
  program.command('hidden', { hidden: true })
  const run = program.command('run').argument('[command...]')
  const output = { ...choice(['json', 'yaml'], 'the format'), short: '-o' }
  addSettings(run, group('Output', { output, watch: onOff('again') }))
  const cases: [words: string[], names: string[]][] = [
    [['r'], ['run']],
    [['run'], ['run']],
    [['hid'], []],
    [['run', '--out'], ['--output']],
    [
      ['run', '-'],
      ['--output', '-o', '--watch', '--help', '-h'],
    ],
    [['run', '-o', ''], []],
    [['run', '-o', 'json', '--wat'], ['--watch']],
    [['run', '--', '--out'], []],
  ]
  for (const [words, names] of cases) assert.deepEqual(complete(program, words), names, words.join(' '))
})

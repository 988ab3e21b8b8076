import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { complete, SCRIPTS } from '../../agent/cli/completion-command.ts'
import { createProgram } from '../../agent/config/command-line.ts'
import { addSettings, choice, group, onOff } from '../../agent/config/setting.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'

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

for (const shell of ['bash', 'zsh'] as const) {
  const isMissing = spawnSync(shell, ['-c', 'true']).status !== 0
  test(`${shell} runs the program with the typed line`, { skip: isMissing }, () => {
    const dir = temporaryDirectory()
    const program = `#!/bin/sh\nexec ${process.execPath} ${BUNDLE} "$@"\n`
    writeFileSync(join(dir, 'langflow-leader'), program, { mode: 0o755 })
    const env = { ...process.env, PATH: `${dir}:${process.env.PATH}`, HOME: dir }
    // The shells complete only in a terminal. Both run the registered command with these variables.
    const script = `
      compdef() { :; }
      ${SCRIPTS[shell]}
      export COMP_LINE='langflow-leader switchover --rea' COMP_POINT=32
      ${shell === 'bash' ? '$(complete -p langflow-leader | sed "s/.*-C \'\\(.*\\)\' .*/\\1/") langflow-leader --rea switchover' : "compgen -C 'langflow-leader complete'"}`
    const { stdout, stderr } = spawnSync(shell, ['-c', script], { env, encoding: 'utf8' })
    assert.deepEqual([stdout, stderr], ['--reason\n', ''])
  })
}

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { complete, SCRIPTS, type ValuesOf } from '../../agent/cli/completion-command.ts'
import { valuesOf } from '../../agent/cli/completion-values.ts'
import { createProgram } from '../../agent/config/command-line.ts'
import { addSettings, choice, group, onOff, optional } from '../../agent/config/setting.ts'

function program() {
  const made = createProgram({})
  made.command('hidden', { hidden: true })
  made.command('install').description('copy it').argument('<dir>', 'a directory')
  const run = made.command('run').description('run it').argument('[command...]')
  const settings = group('Output', {
    output: { ...choice(['json', 'yaml'], 'how it is printed'), short: '-o' },
    kubeconfig: optional('<file>', 'none', 'how to reach it', String),
    stateDir: optional('<dir>', 'none', 'what is kept', String),
    leaseName: optional('<name>', 'none', 'the Lease', String),
    watch: onOff('again and again'),
  })
  addSettings(run, settings)
  return made
}

const OUTPUT = '--output\thow it is printed: json, yaml\n'
const VALUES = 'json\nyaml\n:4\n'
const ALL =
  `${OUTPUT}-o\thow it is printed: json, yaml\n--kubeconfig\thow to reach it\n--state-dir\twhat is kept\n` +
  '--lease-name\tthe Lease\n--watch\tagain and again\n'

describe('a word is completed', () => {
  const cases: [words: string[], answer: string][] = [
    [['r'], 'run\trun it\n:4\n'],
    [['hid'], ':4\n'],
    [['run', '--out'], `${OUTPUT}:4\n`],
    [['run', '-'], `${ALL}--help\tdisplay help for command\n-h\tdisplay help for command\n:4\n`],
    [['run', '-o', ''], VALUES],
    [['run', '--output', 'y'], 'yaml\n:4\n'],
    [['run', '--output=j'], '--output=json\n:4\n'],
    [['run', '-o', 'json', '--wat'], '--watch\tagain and again\n:4\n'],
    [['run', '--watch', '--kubeconfig', ''], ':0\n'],
    [['run', '--kubeconfig=/e'], ':0\n'],
    [['run', '--state-dir', ''], ':0\n'],
    [['run', '--lease-name', ''], ':4\n'],
    [['run', '--nonsense=x'], ':4\n'],
    [['run', '--', '--out'], ':0\n'],
    [['install', ''], ':0\n'],
  ]
  for (const [words, answer] of cases)
    test(JSON.stringify(words.join(' ')), async () => {
      assert.equal(await complete(program(), words), answer)
    })

  test('with values that the cluster of the other flags has', async () => {
    const values: ValuesOf = async (flag, typed) => [`${flag} of ${JSON.stringify(typed)}`]
    const words = ['run', '--kubeconfig=/etc/config', '--state-dir', '/x', '--lease-name', '']
    const typed = JSON.stringify({ kubeconfig: '/etc/config', stateDir: '/x' })
    assert.equal(await complete(program(), words, values), `leaseName of ${typed}\n:4\n`)
  })
})

test('--explain is completed with the codes of the rules, without a cluster', async () => {
  const codes = await valuesOf('explain', { kubeconfig: '/none' })
  assert.ok(codes.includes('lease-shared') && codes.length > 30)
})

/** The responses of the program to these words, for the tests of the shells. */
const ANSWERS: Readonly<Record<string, string>> = {
  hist: 'history\tthe last terms\n:4\n',
  'history --output=': '--output=json\n--output=yaml\n:4\n',
  'history --output=y': '--output=yaml\n:4\n',
  'history --kubeconfig ': ':0\n',
  'install ': ':0\n',
  'status --url "$(touch evaluated)" --wat': '--watch\tagain\n:4\n',
}

describe('a shell', () => {
  const dir = mkdtempSync(join(tmpdir(), 'completion-test-'))
  const env = { ...process.env, PATH: `${dir}:${process.env.PATH}`, HOME: dir }
  before(() => {
    for (const [shell, script] of Object.entries(SCRIPTS))
      writeFileSync(join(dir, `completion.${shell}`), script)
    const cases = Object.entries(ANSWERS).map(([words, answer]) => `'${words}') printf -- '${answer}' ;;`)
    const program = `#!/bin/sh\n[ "$1 $2" = 'complete --' ] || exit 2\nshift 2\ncase "$*" in\n${cases.join('\n')}\nesac\n`
    writeFileSync(join(dir, 'langflow-leader'), program, { mode: 0o755 })
  })
  after(() => rmSync(dir, { recursive: true }))

  const has = (shell: string) => spawnSync(shell, ['-c', 'true']).status === 0
  const run = (shell: string, script: string): string[] => {
    const options = { env, cwd: dir, encoding: 'utf8', timeout: 30_000 } as const
    const { stdout, stderr } = spawnSync(shell, ['-c', script], options)
    assert.equal(stderr, '')
    return stdout.trim().split('\n')
  }

  test('named bash completes words without evaluating them, and can load the script twice', () => {
    const tried = {
      'langflow-leader hist': 'history',
      // Bash splits words at the equals sign.
      'langflow-leader history --output=y': 'yaml',
      'langflow-leader history --kubeconfig ': '+o default',
      'langflow-leader status --url "$(touch evaluated)" --wat': '--watch',
    }
    const lines = Object.keys(tried).map((line) => `'${line}'`)
    const script = `
      . ./completion.bash; . ./completion.bash
      compopt() { printf '+%s %s' "\${1#-}" "$2"; }
      for COMP_LINE in ${lines.join(' ')}; do
        COMP_POINT=\${#COMP_LINE} COMPREPLY=()
        __langflow_leader
        echo "\${COMPREPLY[*]}"
      done
      complete -p langflow-leader; ls evaluated 2>&1 | grep -c '^evaluated$'`
    const expected = [...Object.values(tried), 'complete -F __langflow_leader langflow-leader', '0']
    assert.deepEqual(run('bash', script), expected)
  })

  test('named zsh completes', { skip: !has('zsh') }, () => {
    // The completion functions of zsh exist only in a terminal.
    const script = `
      compdef() { print compdef $* }; compset() { : }; _files() { print files $* }
      _describe() { print -rl -- "\${(@P)2}" }
      . ./completion.zsh
      try() { words=(langflow-leader "$@"); CURRENT=$#words; _langflow_leader }
      try hist; try history --output=; try history --kubeconfig ''`
    const completed = ['history:the last terms', '--output=json', '--output=yaml', 'files']
    assert.deepEqual(run('zsh', script), ['compdef _langflow_leader langflow-leader', ...completed])
  })
})

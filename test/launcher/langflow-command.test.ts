import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { readLangflowCommand } from '../../agent/launcher/langflow-command.ts'

function temporaryDirectory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'command-'))
  t.after(() => rmSync(dir, { recursive: true }))
  return dir
}

/** A directory in PATH with a `langflow` of these first lines. */
function installed(t: TestContext, head: string) {
  const bin = join(temporaryDirectory(t), 'bin')
  mkdirSync(bin)
  const script = join(bin, 'langflow')
  writeFileSync(script, `${head}\nimport sys\n`)
  chmodSync(script, 0o755)
  const env = { PATH: `/nowhere:${bin}`, PORT: '7870', NOTE: 'two words' }
  return { bin, script, read: (...command: string[]) => readLangflowCommand(command, env, '/work') }
}

describe('the command of LangFlow', () => {
  test('is read from the first line of its script', (t) => {
    for (const [head, interpreter] of [
      ['#!/opt/venv/bin/python', ['/opt/venv/bin/python']],
      ['#! /usr/bin/python3.11 -I', ['/usr/bin/python3.11', '-I']],
      [`#!/bin/sh\n'''exec' "/a very long/path/python" "$0" "$@"\n' '''`, ['/a very long/path/python']],
    ] as const) {
      const { bin, script, read } = installed(t, head)
      const start = read('langflow', 'run', '--port', '1')
      assert.deepEqual(start.interpreter, interpreter)
      assert.deepEqual(start.argv, [script, 'run', '--port', '1'])
      assert.equal(start.importsFrom, bin)
      assert.deepEqual(read(script, 'run').argv, [script, 'run'])
    }
  })

  test('imports from where its script really is, as Python does', (t) => {
    const { bin, script, read } = installed(t, '#!/opt/venv/bin/python')
    const link = join(temporaryDirectory(t), 'langflow')
    symlinkSync(script, link)
    assert.equal(read(link, 'run').importsFrom, bin)
  })

  test('finds an interpreter that "env" is to find', (t) => {
    const { bin, read } = installed(t, '#!/usr/bin/env python3')
    const python = join(bin, 'python3')
    writeFileSync(python, '')
    chmodSync(python, 0o755)
    assert.deepEqual(read('langflow', 'run').interpreter, [python])
  })

  test('is read from "python -m langflow run"', (t) => {
    const { read } = installed(t, '')
    const start = read('/venv/bin/python3.11', '-u', '-m', 'langflow', 'run', '--backend-only')
    assert.deepEqual(start.interpreter, ['/venv/bin/python3.11', '-u'])
    assert.deepEqual(start.argv, ['langflow', 'run', '--backend-only'])
    assert.equal(start.importsFrom, '/work')
  })

  test('is read from a shell command that does nothing else', (t) => {
    const { script, read } = installed(t, '#!/opt/venv/bin/python')
    const start = read(
      'sh',
      '-c',
      `LANGFLOW_LOG_LEVEL=warning A='x y' exec langflow run --port $PORT --note "is \${NOTE}" --x=a'b c'`,
    )
    assert.deepEqual(start.argv, [script, 'run', '--port', '7870', '--note', 'is two words', '--x=ab c'])
    assert.deepEqual(start.environment, { LANGFLOW_LOG_LEVEL: 'warning', A: 'x y' })
    assert.deepEqual(read('/bin/bash', '-lc', ' langflow run ').argv, [script, 'run'])
  })

  for (const [command, reason] of [
    [['uvicorn', 'app'], /^"uvicorn" is not "langflow run …"/],
    [['langflow', 'migration'], /^"langflow" without "run" is not/],
    [['python', 'app.py'], /^"python" with anything but LangFlow is not/],
    [['python', '-m', 'flask', 'run'], /^"python" with anything but LangFlow is not/],
    [['sh', 'start.sh'], /a shell that is not started as "sh -c COMMAND"/],
    [['sh', '-c', 'alembic upgrade head && langflow run'], /does more than start LangFlow/],
    [['sh', '-c', 'langflow run > log'], /does more than start LangFlow/],
    [['sh', '-c', 'langflow run "$(hostname)"'], /does more than start LangFlow/],
    [['sh', '-c', 'langflow run --x \\'], /does more than start LangFlow/],
    [['sh', '-c', 'langflow run $NOTE'], /put "\$NOTE" in quotes/],
    [['/nowhere/langflow', 'run'], /no such file/],
  ] as const) {
    test(`is nothing to be prepared where it is ${JSON.stringify(command)}`, (t) => {
      const { read } = installed(t, '#!/opt/venv/bin/python')
      assert.throws(() => read(...command), { message: reason })
    })
  }

  test('is never shown where it may hold a secret', (t) => {
    const { read } = installed(t, '#!/opt/venv/bin/python')
    for (const command of [
      ['langflow', 's3cret'],
      ['python', 's3cret'],
      ['sh', '-c', 'A=s3cret langflow run; true'],
      ['sh', '-c', 'A="s3cret x" langflow run $A $NOTE'],
      ['sh', 's3cret'],
    ])
      assert.throws(
        () => read(...command),
        ({ message }: Error) => !message.includes('s3cret') && !message.includes('two words'),
      )
  })

  test('names no interpreter where its script is none of Python', (t) => {
    for (const head of ['#!/bin/bash', 'plain text', '']) {
      assert.throws(() => installed(t, head).read('langflow', 'run'), /names no Python interpreter/)
    }
  })

  test('says where there is no langflow at all', () => {
    assert.throws(() => readLangflowCommand(['langflow', 'run'], { PATH: '' }, '/'), /no "langflow" in PATH/)
  })
})

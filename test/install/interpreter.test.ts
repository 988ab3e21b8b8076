import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { readInterpreter, writeInterpreter } from '../../agent/install/interpreter.ts'

describe('the interpreter of a program', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'interpreter-'))
  after(() => rmSync(scratch, { recursive: true }))

  const file = (name: string, content: string | Buffer) => {
    const path = join(scratch, name)
    writeFileSync(path, content)
    return path
  }

  test('is nothing in a script, in an empty file and in one that only begins like a program', () => {
    for (const [name, content] of Object.entries({
      script: '#!/bin/sh\nexit 0\n',
      empty: '',
      cut: Buffer.from('\x7fELF\x02\x01\x01', 'latin1'),
      zeros: Buffer.concat([Buffer.from('\x7fELF\x02\x01\x01', 'latin1'), Buffer.alloc(100)]),
    }))
      assert.equal(readInterpreter(file(name, content)), undefined, name)
  })

  test('that does not fit is refused, and the file left alone', () => {
    const copy = join(scratch, 'tight')
    copyFileSync('/bin/true', copy)
    const before = readInterpreter(copy) ?? assert.fail('none')
    assert.throws(() => writeInterpreter(copy, `/${'x'.repeat(before.room)}`), RangeError)
    assert.deepEqual(readInterpreter(copy), before)
    writeInterpreter(copy, `/${'x'.repeat(before.room - 1)}`)
    assert.equal(readInterpreter(copy)?.path.length, before.room)
  })
})

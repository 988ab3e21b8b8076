import assert from 'node:assert/strict'
import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readInterpreter, writeInterpreter } from '../../agent/install/interpreter.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'

describe('the ELF interpreter of a program', () => {
  const scratch = temporaryDirectory()

  const file = (name: string, content: string | Buffer) => {
    const path = join(scratch, name)
    writeFileSync(path, content)
    return path
  }

  test('is undefined for a script, an empty file and a truncated program', () => {
    for (const [name, content] of Object.entries({
      script: '#!/bin/sh\nexit 0\n',
      empty: '',
      cut: Buffer.from('\x7fELF\x02\x01\x01', 'latin1'),
      zeros: Buffer.concat([Buffer.from('\x7fELF\x02\x01\x01', 'latin1'), Buffer.alloc(100)]),
    }))
      assert.equal(readInterpreter(file(name, content)), undefined, name)
  })

  test('is not replaced by a path that does not fit, and the file stays unchanged', () => {
    const copy = join(scratch, 'tight')
    copyFileSync('/bin/true', copy)
    const before = readInterpreter(copy) ?? assert.fail('/bin/true has no interpreter')
    assert.throws(() => writeInterpreter(copy, `/${'x'.repeat(before.length)}`), RangeError)
    assert.deepEqual(readInterpreter(copy), before)
    writeInterpreter(copy, `/${'x'.repeat(before.length - 1)}`)
    assert.equal(readInterpreter(copy)?.length, before.length)
  })
})

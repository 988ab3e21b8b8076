import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parseEnv } from 'node:util'
import { EnvFiles } from '../../agent/launcher/env-files.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'

const SECRET = 'zYx-31337-canary'

/** Files in a directory, and the environment that they make with that of a container. */
class Files {
  private readonly dir = temporaryDirectory()
  readonly env: EnvFiles

  constructor(names = ['a', 'b']) {
    this.env = new EnvFiles(names.map(this.path), { GIVEN: 'container', BOTH: 'container' })
  }

  path = (name: string) => join(this.dir, name)

  async put(name: string, text: string): Promise<this> {
    writeFileSync(this.path(name), text)
    await this.env.read()
    return this
  }
}

describe('env files', () => {
  test('override the container and the files before them, but no variable of this program', async () => {
    const files = new Files()
    await files.put('a', 'BOTH=a\nA=1\nLEADER_EPOCH=9\nKUBERNETES_SERVICE_HOST=x\nLANGFLOW_LEADER_TREE=x')
    const { env } = await files.put('b', 'BOTH=b\nexport B="two\nlines" # comment\n')
    assert.deepEqual(env.environment, { GIVEN: 'container', BOTH: 'b', A: '1', B: 'two\nlines' })
    assert.deepEqual([env.problem, env.refusal], [null, null])
  })

  test('are read in the same way as by parseEnv', async () => {
    const files = new Files(['a'])
    for (const text of [
      'A=1\r\nB="2"\r\n',
      ' A = v \n\n# c\nB=`q`',
      "A='x # y' # z\nB=a\"b",
      'A=a#b\nA.b-c=',
      '\ufeffA=1',
      'A="a\\nb"',
    ]) {
      const { env } = await files.put('a', text)
      const read = { GIVEN: 'container', BOTH: 'container', ...parseEnv(text.replace('\ufeff', '')) }
      assert.deepEqual([env.environment, env.problem], [{ ...read }, null])
    }
    const { env } = await files.put('a', 'A= \nB=2')
    // parseEnv takes B=2 for the value of A.
    assert.deepEqual([env.environment.A, env.environment.B], ['', '2'])
  })

  test('are reported by path and line if a line is invalid, without their text', async () => {
    for (const [text, line] of [
      [`A=1\n${SECRET}\n`, 2],
      [`A="x\ny"\nB="${SECRET}\nC=1`, 3],
      [`A="${SECRET}" ${SECRET}`, 1],
      [`${SECRET} x=1`, 1],
      [`A=1\n=${SECRET}`, 2],
      [`A=${SECRET}\0`, 1],
      [`A=1\nB=${SECRET}\ufffd`, 2],
    ] as const) {
      const files = await new Files(['a']).put('a', text)
      assert.match(files.env.problem ?? '', new RegExp(`/a .*error in line ${line}:`))
      assert.ok(!files.env.problem?.includes(SECRET))
    }
  })

  test('that cannot be read keep their last variables, or prevent a start if there are none', async () => {
    const files = new Files(['a'])
    const a = files.path('a')
    for (const act of [
      () => {},
      () => mkdirSync(a),
      () => execFileSync('mkfifo', [a]),
      () => symlinkSync('/dev/zero', a),
      () => writeFileSync(a, `A=${'x'.repeat(2 ** 17 - 2)}`),
    ]) {
      rmSync(a, { recursive: true, force: true })
      act()
      await files.env.read()
      assert.deepEqual([files.env.refusal?.includes(a), files.env.problem], [true, files.env.refusal])
    }
    rmSync(a)
    await files.put('a', 'A=1')
    rmSync(a)
    await files.env.read()
    const { environment, refusal, problem } = files.env
    assert.deepEqual([environment.A, refusal, problem?.includes(a)], ['1', null, true])
  })
})

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { ERROR_CODES, type ErrorCode, OperationError } from '../../agent/cli/exit-codes.ts'
import { type Format, formatted, operating, table } from '../../agent/cli/output.ts'
import { FatalError } from '../../agent/exit.ts'

describe('a table', () => {
  test('has columns two spaces apart and no line that ends with a space', () => {
    assert.deepEqual(
      table(
        ['POD', 'STATE'],
        [
          ['langflow-0', 'serving'],
          ['b', '-'],
        ],
      ),
      ['POD         STATE', 'langflow-0  serving', 'b           -'],
    )
  })

  test('escapes control characters', () => {
    assert.deepEqual(table(['A'], [['x\n\u001b[31m']]), ['A', 'x\\u000a\\u001b[31m'])
    assert.deepEqual(table(['A'], [['\u202ex\u2066\u200f']]), ['A', '\\u202ex\\u2066\\u200f'])
  })
})

describe('an answer', () => {
  const value = { terms: [{ epoch: 7, holder: 'a' }] }
  const asTable = () => ['EPOCH']
  const formats: [format: Format, text: string][] = [
    ['table', 'EPOCH\n'],
    ['wide', 'EPOCH\n'],
    ['json', `${JSON.stringify(value, null, 2)}\n`],
    ['yaml', 'terms:\n  - epoch: 7\n    holder: a\n'],
  ]
  for (const [format, text] of formats)
    test(`can be printed as ${format}`, () => {
      assert.equal(formatted(format, value, asTable), text)
    })
})

describe('a command that operates', () => {
  async function failing(t: TestContext, format: Format, error: Error) {
    let printed = ''
    t.mock.method(process.stdout, 'write', (text: string, done?: () => void) => {
      printed += text
      done?.()
      return true
    })
    try {
      await assert.rejects(
        operating(format, async () => {
          throw error
        }),
        error,
      )
    } finally {
      t.mock.restoreAll()
    }
    return printed
  }

  const refusal = new OperationError('not_ready', 'b is\nnot ready')
  test('prints a failure as data in a format for programs', async (t) => {
    const failure = { error: { code: 'not_ready', message: 'b is\\u000anot ready' } }
    assert.deepEqual(JSON.parse(await failing(t, 'json', refusal)), failure)
    assert.equal(
      await failing(t, 'yaml', refusal),
      formatted('yaml', failure, () => []),
    )
    assert.deepEqual(JSON.parse(await failing(t, 'json', new FatalError('x'))).error.code, 'failed')
  })

  test('prints a failure only on standard error for people, and a defect in every format', async (t) => {
    assert.equal(await failing(t, 'table', refusal), '')
    assert.equal(await failing(t, 'json', new TypeError('a defect')), '')
  })

  test('exits with the code that docs/reference.md documents for its error', () => {
    for (const code of Object.keys(ERROR_CODES) as ErrorCode[])
      assert.equal(new OperationError(code, 'x').exitCode, ERROR_CODES[code])
    const page = readFileSync(join(import.meta.dirname, '../../docs/reference.md'), 'utf8')
    const [, section = ''] = page.split('## Exit codes')
    const rows = [...section.matchAll(/^\| (\d+) \|.* \| (`.*`) \|$/gm)]
    const documented = rows.flatMap(([, exitCode, codes = '']) =>
      codes.split(', ').map((code) => [code.replaceAll('`', ''), Number(exitCode)]),
    )
    assert.deepEqual(Object.fromEntries(documented), ERROR_CODES)
  })
})

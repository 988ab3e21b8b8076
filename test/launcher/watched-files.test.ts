import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { faultOfFlow } from '../../agent/launcher/watched-files.ts'

const json = (flow: unknown) => JSON.stringify(flow)

/** LangFlow 1.13.0 started from each of these as the only file, with a database without flows, and aborted for the others. */
const STARTS = [
  json({ name: '' }),
  json({ name: 'a', id: 'no UUID', endpoint_name: 'a-b_1', more: 1 }),
  '{"name":"a","name":"b"}',
]
const ABORTS = [
  '',
  ' ',
  '{',
  '\ufeff{"name":"a"}',
  '{"name":"a"} // a',
  '{"name":"a","data":NaN}',
  ...[[], null, 'a', 1, {}, { name: 5 }, { name: null }].map(json),
]

describe('a flow', () => {
  test('has a fault exactly if LangFlow would abort its start', () => {
    for (const text of STARTS) assert.equal(faultOfFlow('a', Buffer.from(text)), null, text)
    for (const text of ABORTS) assert.notEqual(faultOfFlow('a', Buffer.from(text)), null, text)
    assert.notEqual(faultOfFlow('a', Buffer.from('{"name":"\xe9"}', 'latin1')), null)
  })

  test('is named with its fault, but not quoted in the sentence', () => {
    for (const [text, fault] of [
      ['{"name":"a","value":"sk-secret"', 'is not JSON in UTF-8 without a byte order mark'],
      ['["sk-secret"]', 'is not a JSON object with a "name"'],
    ] as const)
      assert.equal(
        faultOfFlow('/flows/a.json', Buffer.from(text)),
        `LangFlow would not start: /flows/a.json ${fault}`,
      )
  })
})

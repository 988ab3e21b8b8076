import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { JsonLines } from '../agent/json-lines.ts'

const LONGEST = 1024

test('messages do not depend on where the bytes are split', () => {
  const texts = fc.array(fc.string({ unit: 'grapheme', maxLength: 30 }))
  fc.assert(
    fc.property(texts, fc.array(fc.nat(400), { maxLength: 30 }), (words, cuts) => {
      const expected = words.map((text) => ({ type: 'said', text }))
      const bytes = Buffer.from(expected.map((message) => `${JSON.stringify(message)}\n`).join(''))
      const ends = [...cuts.sort((a, b) => a - b), bytes.length]
      const lines = new JsonLines(LONGEST)
      const read = ends.flatMap((end, i) => lines.push(bytes.subarray(ends[i - 1] ?? 0, end)))
      assert.deepEqual([read, lines.complete], [expected, true])
    }),
  )
})

test('a line that is too long, or is not an object with a type, is a fault', () => {
  const long = JSON.stringify({ type: 'x'.repeat(LONGEST) })
  for (const [text, fault] of [
    [long, /more than 1 KiB/],
    [`${long}\n`, /more than 1 KiB/],
    ...['{"type":', 'null', '7', '{}', ''].map((line) => [`${line}\n`, /not a JSON message/] as const),
  ] as const) {
    const [line] = new JsonLines(LONGEST).push(Buffer.from(text))
    assert.match(String(line), fault, text)
  }
  assert.deepEqual(new JsonLines(LONGEST).push(Buffer.from('{"type":')), [])
})

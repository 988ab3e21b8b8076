import assert from 'node:assert/strict'
import { test } from 'node:test'
import { watch } from '../../agent/cli/watch-status.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'

const PERIOD_MS = 2_000

/** What each look gives: a text, or what keeps it from being told. */
function watching(looks: (string | Error)[], isTerminal = false) {
  const clock = new VirtualClock()
  const end = new AbortController()
  const written: string[] = []
  const warned: string[] = []
  let look = 0
  const read = async () => {
    const next = looks[Math.min(look++, looks.length - 1)] as string | Error
    if (next instanceof Error) throw next
    return next
  }
  const ended = watch({
    read,
    periodMs: PERIOD_MS,
    signal: end.signal,
    clock,
    isTerminal,
    write: async (text) => void written.push(text),
    warn: (sentence) => void warned.push(sentence),
  })
  const finish = () => {
    end.abort()
    return ended
  }
  return { clock, written, warned, looks: () => look, ended, finish }
}

const away = new Error('the API server\nis away')

test('it is printed at each look', async () => {
  const it = watching(['a\n', 'b\n'])
  await it.clock.pass(PERIOD_MS)
  await it.finish()
  assert.deepEqual(it.written, ['a\n', 'b\n'])
})

test('on a terminal it takes the place of what was there', async () => {
  const it = watching(['a\n', 'b\n'], true)
  await it.clock.pass(PERIOD_MS)
  await it.finish()
  assert.deepEqual(it.written, ['\u001b[H\u001b[2Ja\n', '\u001b[H\u001b[2Jb\n'])
})

test('what cannot be told for a while is a warning', async () => {
  const it = watching(['a\n', away, 'b\n'])
  await it.clock.pass(2 * PERIOD_MS)
  await it.finish()
  assert.deepEqual([it.written, it.warned], [['a\n', 'b\n'], ['the API server\\u000ais away']])
})

test('what cannot be told from the start is an error', async () => {
  const it = watching([away])
  await assert.rejects(it.ended, away)
  assert.deepEqual(it.written, [])
})

test('it ends at once', async () => {
  const it = watching(['a\n'])
  await settled()
  await it.finish()
  assert.equal(it.looks(), 1)
  assert.equal(it.clock.next(), Number.POSITIVE_INFINITY)
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type View, watch } from '../../agent/operate/watch.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'

const PERIOD_MS = 2_000

/** What each look gives: a view of that text and key, or what keeps it from being told. */
function watching(looks: (View | Error)[], stdout: { isTTY: boolean; rows: number }) {
  const clock = new VirtualClock()
  const end = new AbortController()
  /** With ~ for each escape character. */
  const written: string[] = []
  const warned: string[] = []
  let look = 0
  const read = async () => {
    const next = looks[Math.min(look++, looks.length - 1)] as View | Error
    if (next instanceof Error) throw next
    return next
  }
  const ended = watch({
    read,
    periodMs: PERIOD_MS,
    signal: end.signal,
    clock,
    stdout,
    write: async (text) => void written.push(text.replaceAll('\u001b', '~')),
    warn: (sentence) => void warned.push(sentence),
  })
  const rest = { clock, written, warned, looks: () => look }
  const finish = () => {
    end.abort()
    return ended
  }
  return { ...rest, ended, finish }
}

const view = (text: string, key = text): View => ({ text: `${text}\n`, key })
const away = new Error('the API server\nis away')
const PIPE = { isTTY: false, rows: 0 }
const TERMINAL = { isTTY: true, rows: 24 }

describe('where there is no terminal', () => {
  test('it is printed whenever it has changed', async () => {
    const it = watching([view('a 1s', 'a'), view('a 3s', 'a'), view('b'), view('a 5s', 'a')], PIPE)
    await it.clock.pass(3 * PERIOD_MS)
    await it.finish()
    assert.deepEqual(it.written, ['a 1s\n', 'b\n', 'a 5s\n'])
    assert.deepEqual(it.warned, [])
  })

  test('what it cannot tell for a while is said once', async () => {
    const it = watching([view('a'), away, away, view('a'), view('a')], PIPE)
    await it.clock.pass(4 * PERIOD_MS)
    await it.finish()
    assert.deepEqual(it.warned, ['the API server\\u000ais away'])
    assert.deepEqual(it.written, ['a\n', 'a\n'])
  })
})

describe('on a terminal', () => {
  test('it is redrawn on a screen of its own, which gives way to what was there and the last view', async () => {
    const it = watching([view('a'), view('b')], TERMINAL)
    await it.clock.pass(PERIOD_MS)
    await it.finish()
    const [enter, first, second, leave, ...more] = it.written
    assert.equal(enter, '~[?1049h~[?25l~[?7l')
    assert.match(first ?? '', /^~\[H\d\d:\d\d:\d\d, every 2 s; Ctrl-C ends~\[K\n~\[K\na~\[K~\[J$/)
    assert.match(second ?? '', /\nb~\[K~\[J$/)
    assert.equal(leave, '~[?7h~[?25h~[?1049lb\n')
    assert.deepEqual(more, [])
  })

  test('what cannot be told leaves the last view, and says so', async () => {
    const it = watching([view('a'), away, view('b')], TERMINAL)
    await it.clock.pass(PERIOD_MS)
    assert.match(
      it.written.at(-1) ?? '',
      /Ctrl-C ends\. Not as of now: the API server\\u000ais away~\[K\n.*\na~/,
    )
    await it.clock.pass(PERIOD_MS)
    assert.match(it.written.at(-1) ?? '', /Ctrl-C ends~\[K\n.*\nb~/)
    await it.finish()
  })

  test('it takes no more lines than there are, as far as they are known', async () => {
    for (const [rows, taken] of [
      [4, 4],
      [0, 5],
    ] as const) {
      const it = watching([view('a\nb\nc')], { isTTY: true, rows })
      await settled()
      await it.finish()
      assert.deepEqual(it.written[1]?.split('\n').length, taken)
    }
  })
})

test('what cannot be told from the start is an error', async () => {
  const it = watching([away], TERMINAL)
  await assert.rejects(it.ended, away)
  assert.deepEqual(it.written, [])
})

test('it ends at once, also in the middle of a look', async () => {
  const it = watching([view('a'), view('b')], PIPE)
  await settled()
  await it.finish()
  assert.equal(it.looks(), 1)
  assert.equal(it.clock.next(), Number.POSITIVE_INFINITY)
})

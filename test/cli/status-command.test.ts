import assert from 'node:assert/strict'
import { test } from 'node:test'
import { watch } from '../../agent/cli/status-command.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'

const PERIOD_MS = 2_000

/** What each look gives: a text, or why it fails. */
function watching(looks: (string | Error)[]) {
  const clock = new VirtualClock()
  const end = new AbortController()
  const shown: string[] = []
  const warned: string[] = []
  const look = async () => {
    const next = looks.shift() ?? assert.fail('it looks once too often')
    if (next instanceof Error) throw next
    return next
  }
  const to = {
    look,
    show: async (text: string) => void shown.push(text),
    warn: (text: string) => void warned.push(text),
  }
  const ended = watch(clock, to, end.signal)
  const finish = () => {
    end.abort()
    return ended
  }
  return { clock, shown, warned, ended, finish }
}

const away = new Error('the API server\nis away')

test('each look is shown, and one that fails later is a warning', async () => {
  const it = watching(['a\n', away, 'b\n'])
  await it.clock.pass(2 * PERIOD_MS)
  await it.finish()
  assert.deepEqual([it.shown, it.warned], [['a\n', 'b\n'], ['the API server\\u000ais away']])
})

test('a first look that fails is an error', async () => {
  const it = watching([away])
  await assert.rejects(it.ended, away)
  assert.deepEqual(it.shown, [])
})

test('it ends at once', async () => {
  const it = watching(['a\n'])
  await settled()
  await it.finish()
  assert.equal(it.clock.next(), Number.POSITIVE_INFINITY)
})

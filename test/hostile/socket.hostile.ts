import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { NOTHING } from '../../agent/link/link-messages.ts'
import type { Conversation } from './fixtures/attacks.ts'
import { careless, HostileScene, skip } from './hostile-scene.ts'

const HELLO = { type: 'hello', version: 1, pid: 9, alone: true, mono: 'MONO', view: NOTHING }
const LATER = { mono: 1e15, boot: 1e15, wall: 1e15 }
const GRANT = { epoch: 99, identity: 'a', doubtAt: LATER, killAt: LATER, onDoubt: 'freeze' }
const CONFIRMED = ['stopped', 'killed', 'met', 'nothing'].map((kind) => ({
  type: 'workload',
  view: NOTHING,
  cause: { kind, durationMs: 1 },
}))
const lines = (...messages: object[]) => messages.map((one) => `${JSON.stringify(one)}\n`).join('')

const FORGED: [what: string, text: string][] = [
  ['a launcher', lines(HELLO)],
  ['a launcher that reconnects', lines({ ...HELLO, token: 'f'.repeat(64) })],
  ['a launcher with an empty token', lines({ ...HELLO, token: '' })],
  ['a launcher that sends a hello and stop confirmations together', lines(HELLO, ...CONFIRMED)],
  ...CONFIRMED.map((fact): [string, string] => [`the fact “${fact.cause.kind}”`, lines(fact)]),
  ['a launcher that is terminating', lines({ type: 'terminating' })],
  ['an answer to a ping', lines({ type: 'pong', id: 0 })],
  ['an agent’s grant', lines({ type: 'grant', grant: GRANT }, { type: 'start', epoch: 99 })],
  ['an agent’s order to kill', lines({ type: 'kill' })],
]

describe('a hostile process in the LangFlow container', { skip }, () => {
  test('gains nothing from its attacks on the socket', async (t) => {
    const hostile = await HostileScene.open(t)

    await t.test('forged messages of launcher and agent are refused', async () => {
      await hostile.assertNoEffect(async () => {
        for (const [what, text] of FORGED) {
          const { answers, closed } = await hostile.attack<Conversation>('say', { text, forMs: 5000 })
          assert.ok(closed, what)
          assert.ok(
            answers.every((answer) => JSON.parse(answer).type === 'refused'),
            `${what}: ${answers}`,
          )
        }
      })
      const alarms = hostile.alarms()
      assert.ok(alarms.some((alarm) => /another launcher is connected/.test(alarm)))
      assert.ok(alarms.some((alarm) => /the token was not issued by this agent/.test(alarm)))
    })

    await t.test('a flood of connections changes nothing', async () => {
      const { made } = await hostile.assertNoEffect(() =>
        hostile.attack<{ made: number }>('flood', { text: lines(HELLO), forMs: 3000, width: 200 }),
      )
      assert.ok(made > 1000, `${made} connections were made`)
    })

    await t.test('100 MB without a newline are not accepted', async () => {
      const bytes = 100 * 1024 * 1024
      const { taken } = await hostile.assertNoEffect(() =>
        hostile.attack<{ taken: number }>('endless', { bytes }),
      )
      assert.ok(taken < bytes / 10, `${taken} bytes were accepted`)
    })

    await t.test('the socket can be neither removed nor replaced', async () => {
      const outcomes = await hostile.assertNoEffect(() => hostile.attack<Record<string, string>>('deface'))
      for (const [what, outcome] of Object.entries(outcomes)) assert.notEqual(outcome, 'done', what)
    })

    await t.test('the attacks do not fill the log', () => {
      assert.ok(hostile.alarms().length <= 15, hostile.alarms().join('\n'))
    })
  })

  test('that can replace the socket, because of a writable mount, gets nothing from a connected launcher', async (t) => {
    const hostile = await HostileScene.open(t, careless)
    const received = await hostile.assertNoEffect(() =>
      hostile.attack<string[]>('replace', {
        text: lines({ type: 'welcome', token: 'f'.repeat(64), tree: 'x', port: 1 }, { type: 'kill' }),
        forMs: 2500,
      }),
    )
    assert.deepEqual(received, [])
    await hostile.leader.agent.find('the alarm', ({ msg }) => /the socket was replaced/.test(msg))
    const { answers } = await hostile.attack<Conversation>('say', { text: lines(HELLO), forMs: 5000 })
    assert.match(answers[0] ?? '', /another launcher is connected/)
  })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ReplicaRow } from '../../agent/observe/agent-status.ts'
import { PeerRowsCache } from '../../agent/peers/peer-rows.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

const NONE: readonly ReplicaRow[] = []

test('whoever asks within a second gets the same look, and nobody looks while nobody asks', async () => {
  const clock = new VirtualClock()
  let looks = 0
  const look = new PeerRowsCache(clock, async () => {
    looks++
    return [...NONE]
  })
  await clock.pass(60_000)
  assert.equal(looks, 0)
  const [one, other] = await Promise.all([look.rows(), look.rows()])
  assert.equal(one, other)
  await clock.pass(999)
  assert.equal(await look.rows(), one)
  assert.equal(looks, 1)
  await clock.pass(1)
  assert.notEqual(await look.rows(), one)
  assert.equal(looks, 2)
})

test('a look that takes longer than a second is the only one', async () => {
  const clock = new VirtualClock()
  const looks: PromiseWithResolvers<readonly ReplicaRow[]>[] = []
  const look = new PeerRowsCache(clock, () => {
    looks.push(Promise.withResolvers())
    return (looks.at(-1) as PromiseWithResolvers<readonly ReplicaRow[]>).promise
  })
  const first = look.rows()
  await clock.pass(5_000)
  const second = look.rows()
  assert.equal(looks.length, 1)
  looks[0]?.resolve(NONE)
  assert.equal(await first, await second)
  void look.rows()
  assert.equal(looks.length, 2)
})

test('a look that fails is tried again a second later', async () => {
  const clock = new VirtualClock()
  let broken = true
  const look = new PeerRowsCache(clock, async () => {
    if (broken) throw new Error('x')
    return NONE
  })
  await assert.rejects(look.rows())
  broken = false
  await clock.pass(1_000)
  assert.equal(await look.rows(), NONE)
})

import type { Upstream } from '../../agent/front/upstream.ts'
import { type Guest, WaitingRoom } from '../../agent/front/waiting-room.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

/** A waiting room under a virtual clock, before a LangFlow that only the test answers for. */
export function roomOf({ holdLimit = 1000, queueWaitMs = 10_000 } = {}) {
  const clock = new VirtualClock()
  const sent: number[] = []
  const refused: { readonly order: number; readonly reason: unknown; readonly atMs: number }[] = []
  const began = clock.mono()
  const langflow = { isOpen: false, to: 'langflow', asked: 0, health: () => Promise.resolve() }
  const inTerm = () => {
    const health = () => {
      langflow.asked++
      return langflow.health()
    }
    return { taken: () => {}, options: langflow, health } as unknown as Upstream
  }
  let upstream = inTerm()
  const room = new WaitingRoom({
    clock,
    holdTimeoutMs: 30_000,
    holdLimit,
    queueWaitMs,
    open: () => (langflow.isOpen ? upstream : null),
  })
  const guest = (order: number, more: Partial<Guest> = {}): Guest => ({
    hop: null,
    urgent: false,
    order,
    since: clock.mono(),
    waits: () => {},
    gone: false,
    ...more,
  })
  const turn = async (one: Guest) => {
    await room.turn(one)
    sent.push(one.order)
  }
  const wait = (order: number, more?: Partial<Guest>) => {
    const one = guest(order, more)
    turn(one).catch(({ reason }) => refused.push({ order, reason, atMs: clock.mono() - began }))
    return one
  }
  const waits = (from: number, until: number) =>
    Array.from({ length: until - from }, (_, i) => wait(from + i))
  const leaves = (one: Guest) => {
    Object.assign(one, { gone: true })
    room.forget(one)
  }
  const opens = async () => {
    langflow.isOpen = true
    room.letGo()
    await clock.pass(0)
  }
  const replaced = () => {
    upstream = inTerm()
  }
  return { clock, sent, refused, langflow, room, guest, turn, wait, waits, leaves, opens, replaced }
}

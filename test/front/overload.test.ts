import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ask } from './fixture.ts'
import { FrontProcess } from './front-process.ts'

const EACH_MS = 50
const TIMES = 4
const FOR_MS = 7_000
/** Until then, LangFlow also has the requests that it got before /health was slow. */
const SETTLED_MS = 1_000
const QUEUE_WAIT_MS = 1_000
const PATIENCE_MS = 3_000

const post = (port: number) => ask(port, '/run', { method: 'POST', body: 'x' })

/** Answers per ms to eight clients, each of which sends its next request after an answer. */
async function capacityOf(port: number): Promise<number> {
  const each = 5
  const clients = Array.from({ length: 8 }, async () => {
    for (let n = 0; n < each; n++) await post(port)
  })
  const began = performance.now()
  await Promise.all(clients)
  return (each * clients.length) / (performance.now() - began)
}

test('at four times its capacity, LangFlow answers at least 90 % of its capacity in time, and each other request gets 503', async (t) => {
  const langflow = fork(join(import.meta.dirname, 'serial-langflow.mjs'), [String(EACH_MS)])
  t.after(() => langflow.kill())
  const [port] = (await once(langflow, 'message')) as [number]
  const front = await FrontProcess.start(port, { queueWaitMs: QUEUE_WAIT_MS })
  t.after(() => front.stop())
  await front.toLangFlow()
  const capacity = await capacityOf(port)
  const began = performance.now()
  const asked: Promise<{ readonly status: number; readonly tookMs: number; readonly atMs: number }>[] = []
  for (let due = 0; due < FOR_MS; due += 1 / (TIMES * capacity)) {
    await sleep(Math.max(0, began + due - performance.now()))
    const sentAt = performance.now()
    const timed = ({ status }: { readonly status: number }) => {
      const now = performance.now()
      return { status, tookMs: now - sentAt, atMs: now - began }
    }
    asked.push(post(front.port).then(timed))
  }
  const all = await Promise.all(asked)
  const answered = all.filter(({ status }) => status === 200)
  const inTime = answered.filter(
    ({ tookMs, atMs }) => tookMs <= PATIENCE_MS && atMs >= SETTLED_MS && atMs < FOR_MS,
  )
  const share = inTime.length / (capacity * (FOR_MS - SETTLED_MS))
  assert.ok(share >= 0.9, `${Math.round(100 * share)} % of the capacity`)
  assert.deepEqual(new Set(all.map(({ status }) => status)), new Set([200, 503]))
  await front.counted('the refused', ({ failed }) => failed.overload === all.length - answered.length)
})

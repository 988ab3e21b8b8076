import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { hold } from '../support/held-connections.ts'
import { type Postgres, postgresMissing, startPostgres } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { type ControlPlane, startControlPlane } from './control-plane.ts'
import { flowRequest, langflowBinary, runEcho, writeFlow } from './langflow.ts'
import { langflowReplicas } from './langflow-replicas.ts'

/** The drain timeout, by default. */
const DRAIN_MS = 5_000
/** From then on until the Lease is released. */
const CUT_MS = 1_500
/** Until LangFlow is told to end while something is open. */
const GATE_KNOWN_MS = 2_000
const STAND_BY = { cold: [], warm: ['--standby=warm'] } as const

let plane: ControlPlane
let postgres: Postgres | undefined
let dir: string

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'stopping-e2e-'))
  plane = await startControlPlane()
  if (postgresMissing() === undefined) postgres = await startPostgres()
})

after(async () => {
  await postgres?.close()
  await plane?.close()
  rmSync(dir, { recursive: true, force: true })
})

/** A real LangFlow that serves, and how many of its runs have left their row in the database. */
async function served(t: TestContext, standby: keyof typeof STAND_BY) {
  if (postgres === undefined) {
    t.skip(postgresMissing())
    return undefined
  }
  const found = await langflowReplicas(t, plane, dir, STAND_BY[standby])
  if (found === undefined) return undefined
  writeFlow(langflowBinary() as string, found.flows, 'hold')
  const url = await postgres.newDatabase()
  const replica = await found.start('a', { LANGFLOW_DATABASE_URL: url })
  t.after(() => replica.stop())
  // Three times as patient as with anything else: a start alone takes 40 s on a quiet machine.
  const served = () => replica.event('serving')
  await served().catch(served).catch(served)
  const db = postgres
  const rows = async () =>
    Number(await db.sql(`SELECT count(*) FROM transaction WHERE vertex_id = 'Hold-hold'`, url))
  return { replica, rows, origin: `http://127.0.0.1:${replica.port}` }
}

/** Ends it, while a client runs one flow after the other. What was answered has to be in the database afterwards. */
async function ends(
  { replica, rows }: NonNullable<Awaited<ReturnType<typeof served>>>,
  before = 0,
): Promise<number> {
  let answered = before
  const client = (async () => {
    for (;;) {
      await runEcho(replica.port, 'short', 'hold')
      answered++
    }
  })().catch(() => {})
  await until('some flows are answered', async () => answered >= before + 5)
  const began = Date.now()
  replica.signal('SIGTERM')
  const released = await replica.event('released')
  await client
  assert.deepEqual(await replica.exited, { code: 0, signal: null })
  const lost = answered - (await rows())
  assert.ok(lost <= 0, `${lost} of ${answered} answered flows left no row`)
  return Date.parse(released.time) - began
}

test('a held request and a stream are cut off after the drain timeout, and what was answered is written', async (t) => {
  const one = await served(t, 'warm')
  if (one === undefined) return
  await runEcho(one.replica.port, 'first', 'hold')
  const run = (stream: boolean, text: string) => ({
    path: `/api/v1/run/hold?stream=${stream}`,
    ...flowRequest(text),
  })
  const held = await Promise.all([
    hold('request', one.origin, run(false, 'hold=600')),
    hold('stream', one.origin, run(true, 'hold=600')),
  ])
  const took = await ends(one, 1)
  const seen = await Promise.all(held.map(({ ended }) => ended))
  t.diagnostic(`released after ${took} ms; the clients saw ${seen.join(', ')}`)
  assert.ok(took <= DRAIN_MS + CUT_MS, `released after ${took} ms`)
  assert.equal(seen[0], 'HTTP 500')
  const cut = one.replica.lines.filter(({ msg }) => /^(draining|cut off): /.test(msg)).map(({ msg }) => msg)
  assert.match(cut[0] ?? '', /^draining: \d connections from 127\.0\.0\.1 \(\d\), 5 s left$/)
  assert.match(cut.at(-1) ?? '', /^cut off: \d connections from 127\.0\.0\.1 \(\d\)$/)
})

test('a request that sleeps in a thread, where nothing can cancel it, is cut off as well', async (t) => {
  const one = await served(t, 'cold')
  if (one === undefined) return
  await hold('request', one.origin, { path: '/api/v1/run/hold', ...flowRequest('thread=600') })
  const took = await ends(one)
  t.diagnostic(`released after ${took} ms`)
  assert.ok(took <= DRAIN_MS + CUT_MS, `released after ${took} ms`)
})

test('an idle connection holds nothing up', async (t) => {
  const one = await served(t, 'warm')
  if (one === undefined) return
  const { ended } = await hold('idle', one.origin, { path: '/api/v1/run/hold', ...flowRequest('idle') })
  const took = await ends(one, 1)
  t.diagnostic(`released after ${took} ms; the client saw ${await ended}`)
  assert.ok(took <= GATE_KNOWN_MS + CUT_MS, `released after ${took} ms`)
})

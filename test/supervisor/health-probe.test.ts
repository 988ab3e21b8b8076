import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { type TestContext, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { type HealthHandlers, HealthProbe, type ProbedState } from '../../agent/supervisor/health-probe.ts'
import { freePort } from '../harness/free-port.ts'
import { listening } from '../harness/listening.ts'

/** A LangFlow that responds with the status that `answer` returns for a path. `null`: it never responds. */
function langflow(t: TestContext, answer: (path: string) => number | null): Promise<number> {
  const server = createServer(({ url = '' }, response) => {
    const status = answer(url)
    if (status !== null) response.writeHead(status).end()
  })
  return listening(t, server)
}

/** Probes until a handler calls `done`. */
async function probe(
  port: number,
  state: ProbedState,
  handlers: (done: () => void) => Partial<HealthHandlers>,
  healthTimeoutMs = 5_000,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const target = { origin: `http://127.0.0.1:${port}`, port }
  const options = { target, healthIntervalMs: 5, healthTimeoutMs, healthFailures: 3 }
  const ignore = { healthy: () => {}, silence: () => {}, unhealthy: () => {} }
  const probe = new HealthProbe(options, systemClock, { ...ignore, ...handlers(resolve) })
  probe.start(state)
  await promise
  probe.stop()
}

const ASKED: Record<ProbedState, string[]> = {
  healthy: ['/health'],
  served: ['/health', '/health_check'],
  starting: ['/health_check'],
}

/** `/health` has this status; `/health_check` answers 500, as it does without a database. */
const CASES: [state: ProbedState, status: number, givenUp: boolean, what: string][] = [
  ['healthy', 200, false, 'stays healthy without its database, because another replica would lack it too'],
  ['healthy', 500, true, 'is unhealthy after three failed probes in a row'],
  ['served', 200, false, 'is neither healthy nor unhealthy without its database'],
  ['served', 500, true, 'is unhealthy after three failed probes in a row'],
  ['starting', 500, false, 'may fail any number of probes'],
]

for (const [state, status, givenUp, what] of CASES) {
  test(`a LangFlow in state "${state}" ${what}`, async (t) => {
    const asked: string[] = []
    const paths = ASKED[state]
    let end = () => {}
    const port = await langflow(t, (path) => {
      // Every path is asked once in each round. With the sixth round, the fifth is over.
      if (asked.push(path) > 5 * paths.length) end()
      return path === '/health' ? status : 500
    })
    const outcomes: string[] = []
    await probe(port, state, (done) => {
      end = done
      const add = (outcome: string) => () => {
        outcomes.push(outcome)
        done()
      }
      return { healthy: add('healthy'), unhealthy: add('unhealthy') }
    })
    assert.deepEqual(outcomes, givenUp ? ['unhealthy'] : [])
    if (givenUp) assert.equal(asked.length, 3 * paths.length)
    assert.deepEqual([...new Set(asked)].sort(), paths)
  })
}

for (const [state, status, outcomes] of [
  ['healthy', null, ['silent', 'silent', 'silent', 'unhealthy', 'silent', 'answers']],
  ['healthy', 500, ['unhealthy', 'unhealthy', 'answers']],
  ['served', 500, ['unhealthy', 'unhealthy', 'answers', 'healthy']],
] as const)
  test(`a LangFlow in state "${state}" that answers again is reported (before: ${status ?? 'silence'})`, async (t) => {
    let now: number | null = status
    const port = await langflow(t, () => now)
    const seen: string[] = []
    const observe = (done: () => void) => (outcome: string) => {
      seen.push(outcome)
      if (seen.length === outcomes.indexOf('answers')) now = 200
      if (seen.length === outcomes.length) done()
    }
    await probe(
      port,
      state,
      (done) => ({
        healthy: () => observe(done)('healthy'),
        silence: (lasts) => observe(done)(lasts ? 'silent' : 'answers'),
        unhealthy: () => observe(done)('unhealthy'),
      }),
      status === null ? 200 : 5_000,
    )
    assert.deepEqual(seen, outcomes)
  })

test('a LangFlow that accepts and never responds is silent; one that refuses connections is not', async (t) => {
  for (const [port, hangs] of [
    [await langflow(t, () => null), true],
    [await freePort(), false],
  ] as const) {
    let found: boolean | undefined
    const unhealthy = (done: () => void) => (_: string, silent?: boolean) => {
      found = silent
      done()
    }
    await probe(port, 'healthy', (done) => ({ unhealthy: unhealthy(done) }), 50)
    assert.equal(found, hangs)
  }
})

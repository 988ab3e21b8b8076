// The client in the benchmark of the front. It runs its parent's jobs one after the other, and reports the outcome of each.
import { Readable } from 'node:stream'
import { Pool } from 'undici'
import type { Job, Outcome } from './loader.ts'

const BODY = Buffer.alloc(1_024, 'q')
const CHUNK = Buffer.alloc(65_536, 'u')
/** Connections stay open from one job to the next. */
const IDLE_MS = 300_000
/** Timeout of one request, longer than any measurement. */
const TIMEOUT_MS = 20_000
/** Limit of concurrent paced requests. A request that is due beyond it is not sent. */
const MOST_IN_FLIGHT = 256

/** One pool for each port. Its connections stay warm from one job to the next. */
const pools = new Map<number, Pool>()

class Run {
  readonly #pool: Pool
  readonly #begun = performance.now()
  readonly #ms: number[] = []
  readonly #failed: Record<string, number> = {}
  inFlight = 0

  constructor(port: number) {
    let pool = pools.get(port)
    if (pool === undefined) {
      pool = new Pool(`http://127.0.0.1:${port}`, {
        connections: MOST_IN_FLIGHT,
        keepAliveTimeout: IDLE_MS,
        headersTimeout: TIMEOUT_MS,
        bodyTimeout: TIMEOUT_MS,
      })
      pools.set(port, pool)
    }
    this.#pool = pool
  }

  get tookMs(): number {
    return performance.now() - this.#begun
  }

  /** `done` is called when the request is answered or has failed. */
  send(done: () => void, body: Buffer | Readable = BODY, length = BODY.length): void {
    const begun = performance.now()
    const over = (why: string | null) => {
      this.inFlight--
      if (why === null) this.#ms.push(performance.now() - begun)
      else this.#failed[why] = (this.#failed[why] ?? 0) + 1
      done()
    }
    let status = 0
    this.inFlight++
    this.#pool.dispatch(
      {
        path: '/api/v1/run/echo',
        method: 'POST',
        headers: ['content-type', 'application/octet-stream', 'content-length', String(length)],
        body,
      },
      {
        onRequestStart() {},
        onResponseStart(_, statusCode) {
          status = statusCode
        },
        onResponseData() {},
        onResponseEnd: () => over(status === 200 ? null : `HTTP ${status}`),
        onResponseError: (_, error) => over((error as NodeJS.ErrnoException).code ?? error.message),
      },
    )
  }

  outcome(unsent = 0): Outcome {
    return { ms: this.#ms, failed: this.#failed, unsent, tookMs: this.tookMs }
  }
}

/** Sends requests at even intervals, without waiting for answers. */
function pace({ port, rate, forMs }: Extract<Job, { kind: 'paced' }>): Promise<Outcome> {
  const run = new Run(port)
  const total = Math.round((rate * forMs) / 1_000)
  let [due, unsent, over] = [0, 0, 0]
  return new Promise((resolve) => {
    const done = () => {
      over++
      if (over === total) resolve(run.outcome(unsent))
    }
    const turn = () => {
      const now = Math.min(total, Math.floor((run.tookMs * rate) / 1_000) + 1)
      for (; due < now; due++) {
        if (run.inFlight < MOST_IN_FLIGHT) run.send(done)
        else {
          unsent++
          done()
        }
      }
      if (due < total) setTimeout(turn, Math.max(0, (due * 1_000) / rate - run.tookMs))
    }
    turn()
  })
}

/** On each connection, sends the next request after the answer to the one before. */
function saturate({ port, connections, forMs }: Extract<Job, { kind: 'closed' }>): Promise<Outcome> {
  const run = new Run(port)
  return new Promise((resolve) => {
    const next = () => {
      if (run.tookMs < forMs) run.send(next)
      else if (run.inFlight === 0) resolve(run.outcome())
    }
    for (let n = 0; n < connections; n++) next()
  })
}

/** Sends uploads one after the other. */
async function upload({ port, bytes, count, forMs }: Extract<Job, { kind: 'upload' }>): Promise<Outcome> {
  const run = new Run(port)
  for (let n = 0; n < count && run.tookMs < forMs; n++)
    await new Promise<void>((resolve) => run.send(resolve, Readable.from(chunks(bytes)), bytes))
  return run.outcome()
}

async function* chunks(bytes: number): AsyncGenerator<Buffer> {
  for (let left = bytes; left > 0; left -= CHUNK.length) yield CHUNK.subarray(0, Math.min(left, CHUNK.length))
}

function perform(job: Job): Promise<Outcome> {
  switch (job.kind) {
    case 'paced':
      return pace(job)
    case 'closed':
      return saturate(job)
    case 'upload':
      return upload(job)
  }
}

process.on('message', async (job: Job) => process.send?.(await perform(job)))
process.on('disconnect', () => process.exit())

// usage: node test/bench/overload.ts --help
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { BUNDLE } from '../harness/bundle.ts'
import { startControlPlane } from '../harness/control-plane.ts'
import { freePort } from '../harness/free-port.ts'
import {
  ECHO_PATH,
  flowRequest,
  LANGFLOW_MISSING,
  LangflowScene,
  langflowBinary,
  langflowEnvironment,
  writeFlow,
} from '../harness/langflow.ts'
import { postgresMissing, startPostgres } from '../harness/postgres.ts'
import type { Replica } from '../harness/replica.ts'
import { machineFacts, table } from '../harness/report.ts'
import { ServerProcess } from '../harness/server-process.ts'
import { until } from '../harness/wait.ts'
import { withPart } from './page-parts.ts'
import { percentile } from './percentiles.ts'
import { OVERLOAD_PART } from './report.ts'
import { say } from './testbed.ts'

const PATIENCE_MS = 15_000
const FOR_MS = 40_000
const CAPACITY_CLIENTS = 8
const CAPACITY_MS = 15_000
const START_WITHIN_MS = 180_000
/** LangFlow alone still works for clients that have gone. */
const IDLE_WITHIN_MS = 900_000
const IDLE_MS = 1_000
const GOAL = 0.9
const WAITS = { count: 200, rate: 5, seconds: 20, patienceMs: 60_000 }
const HOLD_PATH = '/api/v1/run/hold?stream=false'
/** Events of a LangFlow that does not serve without a break. */
const BREAKS = new Set(['doubt', 'lost', 'draining', 'workload_frozen', 'workload_stopped', 'stepped_down'])

interface Answer {
  /** 0: none within the client's patience, or the connection failed. */
  readonly status: number
  readonly tookMs: number
}

/** One run of a flow, on a new connection. */
function ask(port: number, path = ECHO_PATH, text = 'hello', patienceMs = PATIENCE_MS): Promise<Answer> {
  const { method, headers, body } = flowRequest(text)
  const sentAt = performance.now()
  return new Promise((resolve) => {
    const done = (status: number) => resolve({ status, tookMs: performance.now() - sentAt })
    const signal = AbortSignal.timeout(patienceMs)
    const options = { host: '127.0.0.1', port, path, method, headers, agent: false, signal }
    const asked = request(options, (answer) => {
      answer
        .resume()
        .once('end', () => done(answer.statusCode as number))
        .once('error', () => done(0))
    })
    asked.once('error', () => done(0)).end(body)
  })
}

async function atRate(rate: number, count: number, one: () => Promise<Answer>): Promise<Answer[]> {
  const began = performance.now()
  const asked: Promise<Answer>[] = []
  for (let n = 0; n < count; n++) {
    await sleep(Math.max(0, began + (n * 1000) / rate - performance.now()))
    asked.push(one())
  }
  return Promise.all(asked)
}

/** Answers a second to clients that each send the next run after an answer. */
async function capacityOf(port: number): Promise<number> {
  const until = performance.now() + CAPACITY_MS
  let answered = 0
  const client = async () => {
    while (performance.now() < until) if ((await ask(port)).status === 200) answered++
  }
  await Promise.all(Array.from({ length: CAPACITY_CLIENTS }, client))
  return answered / (CAPACITY_MS / 1000)
}

const idle = (port: number) =>
  until(
    'LangFlow is idle',
    async () => {
      const { status, tookMs } = await ask(port)
      return status === 200 && tookMs < IDLE_MS
    },
    IDLE_WITHIN_MS,
  )

const good = (answers: readonly Answer[]) => answers.filter(({ status }) => status === 200)
const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`
function times(answers: readonly Answer[], lessMs = 0): string[] {
  const ms = good(answers).map(({ tookMs }) => tookMs - lessMs)
  return ms.length === 0
    ? ['', '', '']
    : [percentile(ms, 0.5), percentile(ms, 0.95), Math.max(...ms)].map(seconds)
}

interface Side {
  readonly what: string
  readonly port: number
}

async function measure(main: string, factors: readonly number[]): Promise<{ text: string; met: boolean }> {
  const plane = await startControlPlane()
  const postgres = await startPostgres()
  const scene = await LangflowScene.open(plane)
  let alone: ServerProcess | undefined
  try {
    writeFlow(scene.binary, scene.flows, 'hold')
    const port = await freePort()
    const front = await freePort()
    const inChart = { LANGFLOW_UPDATE_STARTER_PROJECTS: 'false', LANGFLOW_CREATE_STARTER_PROJECTS: 'true' }
    say('overload: two LangFlows start')
    const ours = await scene.replica('ours', {
      main,
      flags: ['--traffic=front', `--front-listen=127.0.0.1:${front}`],
      env: { LANGFLOW_DATABASE_URL: await postgres.newDatabase(), ...inChart },
    })
    await scene.serves(ours)
    const env = langflowEnvironment(scene.path('alone'), port, scene.flows)
    Object.assign(process.env, env, inChart, { LANGFLOW_DATABASE_URL: await postgres.newDatabase() })
    alone = new ServerProcess(scene.binary, ['run', '--backend-only'], scene.path('alone.log'))
    await until('LangFlow alone serves', async () => (await ask(port)).status === 200, START_WITHIN_MS)
    await idle(front)
    const sides: Side[] = [
      { what: 'through the front', port: front },
      { what: 'LangFlow alone', port },
    ]
    return await compare(ours, sides, factors)
  } finally {
    // SIGTERM, because after SIGKILL the workers of LangFlow would continue to run.
    await alone?.stop()
    await scene.finish()
    await postgres.close()
    await plane.close()
  }
}

async function compare(ours: Replica, sides: readonly Side[], factors: readonly number[]) {
  const [front, alone] = sides as [Side, Side]
  const capacity = await capacityOf(alone.port)
  say(`overload: the capacity of LangFlow alone is ${capacity.toFixed(1)} runs a second`)
  const rows: string[][] = []
  const from = ours.lines.length
  let met = true
  for (const factor of factors) {
    const rate = factor * capacity
    const medians: number[] = []
    for (const { what, port } of sides) {
      const answers = await atRate(rate, Math.round((rate * FOR_MS) / 1000), () => ask(port))
      const share = good(answers).length / Math.min(answers.length, (capacity * FOR_MS) / 1000)
      const refused = answers.filter(({ status }) => status === 503).length
      if (good(answers).length > 0)
        medians.push(
          percentile(
            good(answers).map(({ tookMs }) => tookMs),
            0.5,
          ),
        )
      rows.push([
        ...[
          `${factor}`,
          what,
          `${answers.length}`,
          `${good(answers).length}`,
          `${Math.round(share * 100)} %`,
        ],
        ...[`${refused}`, `${answers.length - good(answers).length - refused}`, ...times(answers)],
      ])
      say(`overload: ${rows.at(-1)?.join(', ')}`)
      if (port === front.port && factor > 1) met &&= share >= GOAL
      await idle(port)
    }
    if (factor === 1)
      met &&= medians[0] !== undefined && medians[0] <= (medians[1] ?? Number.POSITIVE_INFINITY)
  }
  const after = await capacityOf(alone.port)
  const waits: string[][] = []
  for (const { what, port } of sides) {
    const one = () => ask(port, HOLD_PATH, `hold=${WAITS.seconds}`, WAITS.patienceMs)
    const answers = await atRate(WAITS.rate, WAITS.count, one)
    waits.push([
      what,
      `${good(answers).length} of ${answers.length}`,
      ...times(answers, WAITS.seconds * 1000),
    ])
    if (port === front.port) met &&= good(answers).length === answers.length
    await idle(port)
  }
  const breaks = ours.lines.slice(from).filter(({ event }) => event && BREAKS.has(event))
  met &&= breaks.length === 0
  const text = [
    '## Overload',
    `\`npm run bench:overload\` writes this part, all of it in one run. ${met ? 'This run met every target.' : '**This run missed a target.**'}`,
    table(['measured on', ''], ['-', '-'], machineFacts()),
    [
      `Clients run the echo flow at even intervals for ${FOR_MS / 1000} s, each on a new connection, and give up after ${PATIENCE_MS / 1000} s. The two LangFlows 1.13`,
      'have the starter projects of the chart and a database in PostgreSQL each, and take turns. One of them has an agent and a front with the default flags. Clients,',
      `PostgreSQL and LangFlow share the machine. **Capacity**: answers a second of LangFlow alone to ${CAPACITY_CLIENTS} clients that each send the next run after an`,
      `answer: ${capacity.toFixed(1)} before the rounds, ${after.toFixed(1)} after them. **Of the capacity**: of what could be answered at all at the offered rate. Targets: at least`,
      `${GOAL * 100} % above the capacity, at the capacity no larger median than LangFlow alone, and no takeover.`,
    ].join('\n'),
    table(
      [
        'times the capacity',
        '',
        'runs',
        'answered',
        'of the capacity',
        '503',
        'gave up or failed',
        'median',
        'p95',
        'max',
      ],
      ['-:', '-', ...Array(8).fill('-:')],
      rows,
    ),
    breaks.length === 0
      ? 'LangFlow was not stopped, frozen or handed over in any round.'
      : `**Events of a break: ${breaks.map(({ event }) => event).join(', ')}.**`,
    `Runs that each wait ${WAITS.seconds} s for a stand-in of a language model, ${WAITS.rate} a second. The times are without this wait.`,
    table(['', 'answered', 'median', 'p95', 'max'], ['-', '-:', '-:', '-:', '-:'], waits),
  ].join('\n\n')
  return { text, met }
}

const USAGE = `usage: node test/bench/overload.ts [--factors 1,2,4,8] [--main FILE] [--out FILE]

Offers a real LangFlow (LANGFLOW_BIN) more runs than it can answer, with and without an agent and its front.

  --factors LIST  multiples of the capacity
  --main FILE     measure this program instead of dist/langflow-leader.mjs
  --out FILE      write the result into this Markdown page`

async function main(): Promise<number> {
  const text = { type: 'string' } as const
  const options = { factors: text, main: text, out: text, help: { type: 'boolean' } } as const
  const { factors = '1,2,4,8', main = BUNDLE, out, help } = parseArgs({ options }).values
  if (help) {
    process.stdout.write(`${USAGE}\n`)
    return 0
  }
  const missing = langflowBinary() === undefined ? LANGFLOW_MISSING : postgresMissing()
  if (missing !== undefined) {
    process.stderr.write(`${missing}\n`)
    return 2
  }
  const { text: page, met } = await measure(main, factors.split(',').map(Number))
  if (out === undefined) process.stdout.write(`${page}\n`)
  else writeFileSync(out, withPart(existsSync(out) ? readFileSync(out, 'utf8') : '', OVERLOAD_PART, page))
  return met ? 0 : 1
}

process.exit(await main())

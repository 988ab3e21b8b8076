// usage: node test/bench/release.ts --help
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { FrontProcess } from '../front/front-process.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { freePort } from '../harness/free-port.ts'
import {
  ECHO_PATH,
  flowRequest,
  LANGFLOW_MISSING,
  langflowBinary,
  langflowEnvironment,
  writeFlow,
} from '../harness/langflow.ts'
import { machineFacts } from '../harness/report.ts'
import { ServerProcess } from '../harness/server-process.ts'
import { withPart } from './page-parts.ts'
import { percentile } from './percentiles.ts'
import {
  atMost,
  describe,
  figure,
  RELEASE_PART,
  type Row,
  type Section,
  shortcomings,
  spread,
  verdict,
} from './report.ts'
import { say } from './testbed.ts'

const HELD_MS = 17_000
/** The time for which users continue to send requests after the release. */
const AFTER_MS = 13_000
const PATIENCE_MS = 30_000
const HEALTH_EACH_MS = 1_000
const HEALTH_TIMEOUT_MS = 2_000
const STEADY_MS = 10_000
const STEADY_RATE = 5
const SINGLES = 5
const LATER_MS = 500

interface Asked {
  readonly sentAt: number
  /** `null`: no answer within the client's timeout. */
  readonly answeredAt: number | null
}

/** Sends one request on a new connection. Resolves at the end of the answer; rejects unless it is 200 and in time. */
function ask(port: number, path: string, timeoutMs: number, run = false): Promise<void> {
  const { method, headers, body } = run ? flowRequest('hello') : { method: 'GET', headers: {}, body: '' }
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs)
    const asked = request(
      { host: '127.0.0.1', port, path, method, headers, agent: false, signal },
      (answer) => {
        const done = () => (answer.statusCode === 200 ? resolve() : reject(new Error(`${answer.statusCode}`)))
        answer.resume().once('end', done).once('error', reject)
      },
    )
    asked.once('error', reject).end(body)
  })
}

async function run(port: number): Promise<Asked> {
  const sentAt = performance.now()
  const answered = await ask(port, ECHO_PATH, PATIENCE_MS, true).then(
    () => true,
    () => false,
  )
  return { sentAt, answeredAt: answered ? performance.now() : null }
}

const took = ({ sentAt, answeredAt }: Asked) => (answeredAt as number) - sentAt

async function atRate(port: number, rate: number, forMs: number): Promise<Asked[]> {
  const asked: Promise<Asked>[] = []
  const began = performance.now()
  for (let n = 0; n < (forMs * rate) / 1000; n++) {
    await sleep(Math.max(0, began + (n * 1000) / rate - performance.now()))
    asked.push(run(port))
  }
  return Promise.all(asked)
}

/** Requests LangFlow's health once a second, as an agent does, until the returned function is called. */
function healthOf(port: number) {
  const ms: number[] = []
  let failed = 0
  const asked: Promise<void>[] = []
  const probe = async () => {
    const began = performance.now()
    await ask(port, '/health_check', HEALTH_TIMEOUT_MS).then(
      () => ms.push(performance.now() - began),
      () => failed++,
    )
  }
  const timer = setInterval(() => asked.push(probe()), HEALTH_EACH_MS)
  return async () => {
    clearInterval(timer)
    await Promise.all(asked)
    return { ms, failed }
  }
}

/** Holds requests for a time without a server, releases them, and measures the answers, for one program. */
async function measureRound(main: string, target: number, rate: number) {
  const front = await FrontProcess.start(target, {}, main)
  try {
    await front.toLangFlow()
    const singles: number[] = []
    for (let n = 0; n < SINGLES; n++) singles.push(took(await run(front.port)))
    const steady = (await atRate(front.port, STEADY_RATE, STEADY_MS)).map(took)
    await front.toNobody()
    const asked = atRate(front.port, rate, HELD_MS + AFTER_MS)
    await sleep(HELD_MS)
    const health = healthOf(target)
    await front.toLangFlow()
    const releasedAt = performance.now()
    const all = await asked
    const { ms, failed } = await health()
    const answered = all.filter(({ answeredAt }) => answeredAt !== null)
    return {
      first: Math.min(...answered.map(({ answeredAt }) => answeredAt as number)) - releasedAt,
      single: percentile(singles, 0.5),
      waited: answered.filter(({ sentAt }) => sentAt < releasedAt).map(took),
      later: answered.filter(({ sentAt }) => sentAt >= releasedAt).map(took),
      gaveUp: all.length - answered.length,
      steady,
      health: ms,
      healthFailed: failed,
    }
  } finally {
    await front.stop()
  }
}

async function measure(
  programs: readonly (readonly [string, string])[],
  rates: readonly number[],
): Promise<Section[]> {
  const binary = langflowBinary() as string
  const dir = mkdtempSync(join(tmpdir(), 'release-'))
  const port = await freePort()
  const env = langflowEnvironment(join(dir, 'home'), port, writeFlow(binary, join(dir, 'flows')))
  Object.assign(process.env, env, { TMPDIR: dir })
  const langflow = new ServerProcess(binary, ['run', '--backend-only'], join(dir, 'langflow.log'))
  try {
    const healthy = () => ask(port, '/health_check', HEALTH_TIMEOUT_MS).then(() => true)
    say('release: LangFlow starts')
    await langflow.ready('LangFlow', healthy).catch(() => langflow.ready('LangFlow', healthy))
    await ask(port, ECHO_PATH, PATIENCE_MS, true)
    const sections: Section[] = []
    for (const rate of rates) {
      const times: Row[] = []
      const counts: Row[] = []
      for (const [what, main] of programs) {
        say(`release: ${what}, ${rate} runs a second`)
        const { single, first, waited, later, steady, health, gaveUp, healthFailed } = await measureRound(
          main,
          port,
          rate,
        )
        const isNew = main === programs.at(-1)?.[1]
        const row = (name: string, values: number[], unit = 'ms') => ({
          ...spread(`${what}: ${name}`, unit),
          values,
        })
        times.push(
          row('runs that were held', waited),
          row('runs that were sent after the release', later),
          row('health requests', health),
          row(`${STEADY_RATE} runs a second while no request waits`, steady),
        )
        counts.push(
          figure(`${what}: a single run`, 'ms', single),
          figure(
            `${what}: first answer after the release`,
            'ms',
            first,
            isNew ? atMost(Math.round(single + LATER_MS), 'ms') : undefined,
          ),
          figure(
            `${what}: clients without an answer after ${PATIENCE_MS / 1000} s`,
            'clients',
            gaveUp,
            isNew ? atMost(0, 'clients') : undefined,
          ),
          figure(
            `${what}: failed health requests`,
            'requests',
            healthFailed,
            isNew ? atMost(0, 'requests') : undefined,
          ),
        )
      }
      sections.push({ title: `Release: ${rate} runs a second`, about: ABOUT, rows: times, notes: [] })
      sections.push({
        title: `Release: ${rate} runs a second, single values`,
        about: [],
        rows: counts,
        notes: [],
      })
    }
    return sections
  } finally {
    // SIGTERM, because after SIGKILL the workers of LangFlow would continue to run.
    await langflow.stop()
  }
}

const ABOUT = [
  `The leader’s front holds requests for ${HELD_MS / 1000} s, then LangFlow 1.13 serves, and clients continue for ${AFTER_MS / 1000} s. Each client runs the echo flow once, on a new connection. LangFlow is warm, on SQLite, and shares the machine with front and clients.`,
  `Health requests go to LangFlow’s \`/health_check\` once a second from the release on, with the agent’s timeout of ${HEALTH_TIMEOUT_MS / 1000} s.`,
]

const USAGE = `usage: node test/bench/release.ts [--before FILE] [--rates 2,5,10] [--main FILE] [--out FILE]

Measures how a real LangFlow (LANGFLOW_BIN) answers the requests that a front held.

  --before FILE   also measure this earlier program, for comparison
  --rates LIST    rates in runs of a flow per second
  --main FILE     measure this program instead of dist/langflow-leader.mjs
  --out FILE      write the result into this Markdown page`

async function main(): Promise<number> {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    options: { before: text, rates: text, main: text, out: text, help: { type: 'boolean' } },
  })
  if (values.help) {
    process.stdout.write(`${USAGE}\n`)
    return 0
  }
  if (langflowBinary() === undefined) {
    process.stderr.write(`${LANGFLOW_MISSING}\n`)
    return 2
  }
  const { before, rates = '2,5,10', main = BUNDLE, out } = values
  const programs = [...(before === undefined ? [] : [['before', before] as const]), ['now', main] as const]
  const sections = await measure(programs, rates.split(',').map(Number))
  const page = [
    '## Release of waiting requests',
    '`npm run bench:release` writes this part, all of it in one run. Percentiles are nearest-rank.',
    ...verdict(sections, machineFacts()),
    ...sections.flatMap((section) => describe(section, '###')),
  ].join('\n\n')
  if (out === undefined) process.stdout.write(`${page}\n`)
  else writeFileSync(out, withPart(existsSync(out) ? readFileSync(out, 'utf8') : '', RELEASE_PART, page))
  return shortcomings(sections).length === 0 ? 0 : 1
}

process.exit(await main())

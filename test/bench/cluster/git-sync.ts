// The program that npm run bench:git-sync runs inside a cluster. It measures, from a client's view, the time from a commit of a
// flow until the flow is served, with the chart and the real git-sync. Then it writes its part of docs/evidence/takeovers.md.
//
// usage: git-sync.ts [--results FILE] [stand-in|langflow|none [N]]
//   langflow, N     the program in LangFlow's container, and the number of commits (defaults: langflow, 5)
//   --results FILE  append each commit to FILE, and write the table of all commits in it, so that short runs add up
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Installation } from '../../cluster/installation.ts'
import { Kube } from '../../cluster/kube.ts'
import { type Answer, LANGFLOW, STAND_IN, type Workload } from '../../cluster/workload.ts'
import { type Manifest, named } from '../../deploy/manifests.ts'
import { Client } from '../../harness/client.ts'
import { overlapMs } from '../../harness/judge.ts'
import {
  API_KEY,
  flowRequest,
  LANGFLOW_MISSING,
  langflowBinary,
  outputOf,
  writeFlow,
} from '../../harness/langflow.ts'
import { machineFacts, table } from '../../harness/report.ts'
import { mono, until } from '../../harness/wait.ts'
import { warmFiles } from '../../harness/warm-langflow.ts'
import { withPart } from '../page-parts.ts'
import { percentile } from '../percentiles.ts'
import { FlowRepository, TAG } from './flow-repository.ts'

const PAGE = join(import.meta.dirname, '../../../docs/evidence/takeovers.md')
const FLOW_FILE = 'text.json'
const FLOW_TEXT = '"the fixed text"'
const PATIENCE_MS = 40_000
/** Enough for the start of two LangFlows on two cores, and for a commit that is served only after a restart in place. */
const SETTLED_MS = 300_000
/** LangFlow starts again for changed files at most once in two lease durations. */
const APART_MS = 30_000
/** git-sync's `--period`: the commits come at any time in it. */
const PERIOD_MS = 10_000
const AFTER_MS = 3_000

/** A commit. Times in ms, each from the end of the one before, except `servedMs`. */
interface Round {
  readonly row: 'stand-in' | 'langflow'
  /** From the commit until git-sync has it in both pods. */
  readonly syncedMs: number
  /** Until the leader begins to hand over. `null`: it did not. */
  readonly noticedMs: number | null
  /** Until the first answer of the next leader. */
  readonly takeoverMs: number | null
  /** From the commit to the first answer from it. */
  readonly servedMs: number
  readonly calls: number
  readonly failed: number
  readonly failures: Readonly<Record<string, number>>
  /** Answers from an earlier commit to requests that were sent after that. */
  readonly stale: number
  readonly takeovers: number
  readonly overlapMs: number
  readonly load: number
}

// 1. The two workloads. Each answers with the text of a flow.

const STAND_IN_HOME = '/warm'

/** The stand-in for LangFlow behind a warm standby. It runs in git-sync's image, which has Python. */
const WARM_STAND_IN: Workload = {
  ...STAND_IN,
  prepare(deployment, collector) {
    const beside = STAND_IN.prepare(deployment, collector)
    const pod = deployment.spec.template.spec
    const langflow = named<Manifest['spec']>(pod.containers, 'langflow')
    langflow.image = named<Manifest['spec']>(pod.initContainers, 'git-sync').image
    const [, workload, ...options] = langflow.args
    langflow.args = [`${STAND_IN_HOME}/langflow`, 'run', ...options, `shows=/git/current/flows/${FLOW_FILE}`]
    langflow.env.push({ name: 'PYTHONPATH', value: `${STAND_IN_HOME}/modules` })
    langflow.volumeMounts.push({ name: 'warm', mountPath: STAND_IN_HOME, readOnly: true })
    const node = JSON.stringify('/usr/local/bin/node')
    const main = `import os; os.execv(${node}, [${node}, ${JSON.stringify(workload)}, *sys.argv[2:]])`
    const files = Object.entries(warmFiles('/usr/bin/python3', main))
    const keyOf = (path: string) => path.replaceAll('/', '.')
    const items = files.map(([path]) => ({ key: keyOf(path), path }))
    pod.volumes.push({ name: 'warm', configMap: { name: 'warm', defaultMode: 0o555, items } })
    const data = Object.fromEntries(files.map(([path, text]) => [keyOf(path), text]))
    return [...beside, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'warm' }, data }]
  },
}

const REAL_LANGFLOW: Workload = {
  ...LANGFLOW,
  prepare(deployment, collector) {
    const beside = LANGFLOW.prepare(deployment, collector)
    named<Manifest['spec']>(deployment.spec.template.spec.containers, 'langflow').env.push(
      { name: 'LANGFLOW_API_KEY_SOURCE', value: 'env' },
      { name: 'LANGFLOW_API_KEY', value: API_KEY },
      { name: 'LANGFLOW_SKIP_AUTH_AUTO_LOGIN', value: 'true' },
    )
    return beside
  },
}

const ROWS = {
  'stand-in': { workload: WARM_STAND_IN, values: {}, everyMs: 50, path: '/' },
  langflow: {
    workload: REAL_LANGFLOW,
    values: { database: { trial: true } },
    everyMs: 200,
    path: '/api/v1/run/text?stream=false',
  },
} as const
type Row = keyof typeof ROWS

/** The text of the flow that the leader answers with. */
const READ: { readonly [row in Row]: (text: string) => Answer } = {
  'stand-in': (text) => {
    const { shown = '', ...answer } = JSON.parse(text) as Answer
    return { ...answer, shown: (JSON.parse(shown) as { description: string }).description }
  },
  langflow: (text) => ({ replica: '', epoch: 0, pid: 0, mono: mono(), shown: outputOf(text) }),
}

/** The flow that answers with a text. */
function flowOf(row: Row): (text: string) => string {
  if (row === 'stand-in') return (text) => JSON.stringify({ name: 'text', description: text })
  const binary = langflowBinary()
  if (binary === undefined) throw new Error(LANGFLOW_MISSING)
  const directory = mkdtempSync(join(tmpdir(), 'text-flow-'))
  const written = readFileSync(join(writeFlow(binary, directory, 'text'), FLOW_FILE), 'utf8')
  rmSync(directory, { recursive: true })
  if (!written.includes(FLOW_TEXT)) throw new Error(`the flow does not contain ${FLOW_TEXT}`)
  return (text) => written.replaceAll(FLOW_TEXT, JSON.stringify(text))
}

// 2. The measurement.

async function measureAll(row: Row, times: number, add: (round: Round) => void): Promise<void> {
  const kube = new Kube()
  const repository = await FlowRepository.serve(kube.nodeAddress)
  let one: Installation | undefined
  try {
    const flow = flowOf(row)
    await repository.commit(FLOW_FILE, flow('the first'))
    one = await install(row, kube, repository.url)
    let servedAt = mono()
    for (let n = 1; n <= times; n++) {
      await prepared(one)
      await sleep(Math.max(0, servedAt + APART_MS - mono()) + Math.random() * PERIOD_MS)
      const from = mono()
      const round = await measure(row, one, () => repository.commit(FLOW_FILE, flow(textOf(n))), textOf(n))
      servedAt = from + round.servedMs
      add(round)
    }
  } catch (error) {
    if (one) process.stderr.write(`${await one.evidence()}\n`)
    throw error
  } finally {
    await one?.close()
    await repository.close()
    await kube.close()
  }
}

/** Installs LangFlow with the flows of this repository, and a client that runs the flow. */
async function install(row: Row, kube: Kube, repository: string): Promise<Installation> {
  const { workload, values, everyMs, path } = ROWS[row]
  const flows = { source: 'git', git: { repository, ref: TAG } }
  const file = 'langflow-production.yaml'
  const one = await Installation.start(kube, { file, values: { ...values, flows }, workload })
  await one.settled(2, SETTLED_MS)
  await one.client.stop()
  const target = { to: 'langflow', url: `${one.url}${path}` }
  const asked = row === 'langflow' ? flowRequest('') : {}
  one.client = new Client({ everyMs, withinMs: PATIENCE_MS, target: () => target, asked, read: READ[row] })
  return one
}

const textOf = (n: number) => `commit ${n}`

/** Resolves once one replica serves and the other has a warm standby. */
async function prepared(one: Installation): Promise<void> {
  await one.settled(2, SETTLED_MS)
  const isPrepared = async () =>
    (await one.statuses()).some(({ standby: { mode, state } }) => mode === 'warm' && state === 'ready')
  await until('a replica is prepared', () => isPrepared().catch(() => false), SETTLED_MS)
}

async function measure(
  row: Row,
  one: Installation,
  push: () => Promise<string>,
  text: string,
): Promise<Round> {
  const { epoch } = one.lease
  const beats = one.beats.length
  const wallAtMono0 = Date.now() - mono()
  const { metadata } = await one.leader()
  const load = loadavg()[0] as number
  const from = mono()
  const commit = await push()
  const calls = () => one.client.calls.filter(({ sentAt }) => sentAt >= from)
  const served = () => calls().find(({ answer }) => answer?.shown === text)
  await until(`${text} is served`, () => served() !== undefined, SETTLED_MS)
  const servedAt = served()?.endedAt as number
  await one.settled(2, SETTLED_MS)
  await sleep(AFTER_MS)

  const atMono = (time: string) => Date.parse(time) - wallAtMono0
  const synced = one.logs.lines
    .filter(({ container, text: line }) => container === 'git-sync' && isSyncOf(line, commit))
    .map(({ at }) => atMono(at))
  if (synced.length !== 2) throw new Error(`git-sync has ${text} in ${synced.length} pods`)
  const syncedAt = Math.max(...synced)
  const stepped = one.logs
    .ours(metadata.name)
    .find(({ event, time }) => event === 'stepped_down' && atMono(time) > from)
  const steppedAt = stepped ? atMono(stepped.time) : null
  const failures = one.client.since(from).failures
  const violations = one.violations()
  if (violations.length > 0) throw new Error(violations.join('\n'))
  return {
    row,
    syncedMs: syncedAt - from,
    noticedMs: steppedAt === null ? null : steppedAt - syncedAt,
    takeoverMs: steppedAt === null ? null : servedAt - steppedAt,
    servedMs: servedAt - from,
    calls: calls().length,
    failed: calls().filter(({ failure }) => failure !== null).length,
    failures,
    stale: calls().filter(
      ({ sentAt, answer }) => sentAt > servedAt && answer !== null && answer.shown !== text,
    ).length,
    takeovers: one.lease.epoch - epoch,
    overlapMs: overlapMs(one.beats.slice(beats)),
    load,
  }
}

/** Whether git-sync logs with this line that it has this commit in place. */
function isSyncOf(line: string, commit: string): boolean {
  return line.includes('"updated successfully"') && line.includes(commit)
}

// 3. The report.

function cellsOf(rounds: readonly Round[], fieldOf: (round: Round) => number | null): string {
  const values = rounds.map(fieldOf).filter((value) => value !== null)
  if (values.length === 0) return '-'
  const seconds = (ms: number) => (ms / 1000).toFixed(1)
  return `${seconds(percentile(values, 0.5))} / ${seconds(percentile(values, 0.95))} / ${seconds(Math.max(...values))}`
}

function rowOf(row: Row, rounds: readonly Round[]): string[] {
  const sum = (fieldOf: (round: Round) => number) =>
    rounds.reduce((total, round) => total + fieldOf(round), 0)
  const loads = rounds.map(({ load }) => load)
  return [
    row === 'langflow' ? 'LangFlow 1.13.0' : 'stand-in',
    String(rounds.length),
    cellsOf(rounds, ({ servedMs }) => servedMs),
    cellsOf(rounds, ({ syncedMs }) => syncedMs),
    cellsOf(rounds, ({ noticedMs }) => noticedMs),
    cellsOf(rounds, ({ takeoverMs }) => takeoverMs),
    `${sum(({ failed }) => failed)} of ${sum(({ calls }) => calls)}`,
    String(sum(({ takeovers }) => takeovers)),
    `${Math.min(...loads).toFixed(1)} to ${Math.max(...loads).toFixed(1)}`,
  ]
}

const HEAD = ['program', 'commits', 'served', 'synced', 'noticed', 'takeover', 'failed', 'takeovers', 'load']

function reportOf(rounds: readonly Round[]): string {
  const { commit, date, cores } = Object.fromEntries(machineFacts())
  const rows = (Object.keys(ROWS) as Row[]).flatMap((row) => {
    const some = rounds.filter((round) => round.row === row)
    return some.length === 0 ? [] : [rowOf(row, some)]
  })
  return [
    `\`npm run bench:git-sync\`: commit ${commit}, ${date}, cores: ${cores}; the chart with two replicas, git-sync v4.7.1 every 10 s. A flow is pushed at a random time, at least 30 s after the last takeover. A client sends requests without a retry: 20 a second to the stand-in, or 5 runs of the flow a second to LangFlow on PostgreSQL.`,
    table(HEAD, ['-', ...HEAD.slice(1).map(() => '-:')], rows),
    'Seconds: median / 95th percentile / longest. *Served*: from `git commit` to the first answer of the new flow. It consists of *synced*, until both pods have the commit, *noticed*, until the leader begins to hand over, and *takeover*. *Failed*: requests from each commit until both replicas are ready again. *Load*: the load average.',
  ].join('\n\n')
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { results: { type: 'string' } },
})
const [row = 'langflow', times = '5'] = positionals
const rounds: Round[] = []
if (options.results !== undefined && existsSync(options.results))
  for (const line of readFileSync(options.results, 'utf8').trim().split('\n'))
    rounds.push(JSON.parse(line) as Round)
if (row !== 'none')
  await measureAll(row as Row, Number(times), (round) => {
    rounds.push(round)
    const line = `${JSON.stringify(round)}\n`
    process.stderr.write(line)
    if (options.results !== undefined) appendFileSync(options.results, line)
  })
writeFileSync(PAGE, withPart(readFileSync(PAGE, 'utf8'), 'git-sync', reportOf(rounds)))

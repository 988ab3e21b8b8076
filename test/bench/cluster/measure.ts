// What npm run bench:cluster runs inside a cluster: what a client notices of each kind of takeover, with the real LangFlow on
// PostgreSQL, in front mode, in readiness mode, and with two LangFlows of a plain Deployment that know of no leader. Writes its
// part of docs/evidence/takeovers.md. With arguments only those rows, on stdout: front/Deployment/2/rollout, or plain/; a number says how
// often, such as `front/ 3`. With --results FILE each round is added to that file, and the tables are of all rounds in it, so that
// many short runs make one measurement; with `--results FILE 0` nothing is measured, and the page is written from the file.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Lease } from '../../../agent/lease/lease.ts'
import { historyOf } from '../../../agent/lease/lease-history.ts'
import { ANYBODY, SWITCHOVER_TO } from '../../../agent/lease/operator-annotations.ts'
import { readProcesses } from '../../../agent/processes/proc.ts'
import { Installation, type InstallationOptions, rendered } from '../../cluster/installation.ts'
import { isReady, Kube, type Pod } from '../../cluster/kube.ts'
import { killContainers, nodeProgram, processesOf } from '../../cluster/processes.ts'
import { fitToNode, LANGFLOW, type Workload } from '../../cluster/workload.ts'
import { type Manifest, named } from '../../deploy/manifests.ts'
import { type Call, Client } from '../../harness/client.ts'
import { API_KEY, ECHO_PATH, flowRequest, outputOf } from '../../harness/langflow.ts'
import { table } from '../../harness/report.ts'
import { mono, until } from '../../harness/wait.ts'
import { withPart } from '../page-parts.ts'
import { percentile } from '../percentiles.ts'
import { EventStreams } from './event-streams.ts'
import { PHASES, type Phases, takeoversAfter } from './phases.ts'

const MODES = ['front', 'readiness', 'plain'] as const
type Mode = (typeof MODES)[number]

/** In this order: what kills comes last. */
const WHATS = [
  'switchover',
  'rollout',
  'eviction',
  'delete-pod',
  'worker-killed',
  'replica-killed',
  'api-frozen',
] as const
type What = (typeof WHATS)[number]

/** In front mode no request fails in these: logs are printed where one did. */
const UNNOTICED: ReadonlySet<What> = new Set<What>(['switchover', 'rollout', 'eviction', 'delete-pod'])

interface Group {
  readonly mode: Mode
  readonly kind: 'Deployment' | 'StatefulSet'
  readonly replicas: number
  readonly whats: readonly What[]
}

const GROUPS: readonly Group[] = [
  ...MODES.map((mode) => ({
    ...{ mode, kind: 'Deployment' as const, replicas: 2 },
    whats: WHATS.filter((what) => mode !== 'plain' || what !== 'switchover'),
  })),
  { mode: 'front', kind: 'Deployment', replicas: 3, whats: ['rollout'] },
  { mode: 'front', kind: 'StatefulSet', replicas: 2, whats: ['rollout'] },
]

const PAGE = join(import.meta.dirname, '../../../docs/evidence/takeovers.md')
const STREAMS = 10
/** Two whole LangFlows on two cores. */
const SETTLED_MS = 300_000
/** What a takeover leaves is over by then, also where nothing shows when it begins; and what comes late has come. */
const LASTS_MS = 20_000
const AFTER_MS = 3_000
/** Longer than any lease. */
const PATIENCE_MS = 40_000
const FROZEN_MS = 12_000
/** Runs of a flow: what nobody may repeat. */
const EVERY_MS = 200
const SAID = 'who is there?'
const FLOW = join(import.meta.dirname, '../../harness/flows/echo-flow.py')
const WORKLOAD: Workload = {
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

function optionsOf({ mode, kind, replicas }: Group): InstallationOptions {
  const shared = { kind, replicas, workload: WORKLOAD }
  if (mode === 'plain') return { ...shared, adopt: installPlain }
  if (mode === 'front') return { ...shared, base: 'production', components: ['postgresql'] }
  return { ...shared, base: 'base', components: ['standby-warm', 'postgresql'] }
}

/** Two that both act, as any Deployment has them, on one database. */
async function installPlain(one: Installation, plain: readonly Manifest[]): Promise<void> {
  const [deployment] = plain
  const database = (await rendered('base', ['postgresql'])).filter(({ metadata: { name } }) =>
    name.startsWith('langflow-postgresql'),
  )
  fitToNode(database)
  const from = { secretKeyRef: { name: 'langflow-postgresql', key: 'database-url' } }
  const container = deployment?.spec.template.spec.containers[0]
  container.env.push(
    { name: 'LANGFLOW_DATABASE_URL', valueFrom: from },
    { name: 'LANGFLOW_SECRET_KEY', value: Buffer.alloc(32, 7).toString('base64url') },
  )
  container.readinessProbe = { httpGet: { path: '/health_check', port: 7860 }, periodSeconds: 1 }
  container.args = ['langflow', 'run', '--host', '0.0.0.0', '--backend-only']
  // Else the Service's variables overwrite LangFlow's own: LANGFLOW_PORT.
  if (deployment) deployment.spec.template.spec.enableServiceLinks = false
  // As anybody would who wants no gap.
  if (deployment) deployment.spec.strategy = { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } }
  await one.apply(database)
  await one.kubectl('rollout', 'status', 'statefulset/langflow-postgresql', `--timeout=${SETTLED_MS}ms`)
  // Two that make the tables of an empty database at the same time are in each other's way.
  const { replicas } = deployment?.spec ?? {}
  if (deployment) deployment.spec.replicas = 1
  await one.apply(plain)
  await one.kubectl('rollout', 'status', one.name, `--timeout=${SETTLED_MS}ms`)
  await one.kubectl('scale', one.name, `--replicas=${replicas}`)
}

/** One that is asked, and a way to hurt it. */
class Subject {
  readonly one: Installation
  readonly group: Group
  readonly streams: EventStreams
  private constructor(one: Installation, group: Group, token: string) {
    this.one = one
    this.group = group
    const headers = { authorization: `Bearer ${token}` }
    this.streams = new EventStreams(STREAMS, `${one.url}/api/v1/mcp/sse`, headers)
  }

  static async start(kube: Kube, group: Group): Promise<Subject> {
    const one = await Installation.start(kube, optionsOf(group))
    await settled(one, group)
    const answer = await fetch(`${one.url}/api/v1/auto_login`)
    const { access_token: token } = (await answer.json()) as { access_token: string }
    await installFlow(one, token)
    await one.client.stop()
    const target = { to: 'langflow', url: `${one.url}${ECHO_PATH}` }
    const read = (text: string) => {
      if (outputOf(text) !== SAID) throw new Error('another answer than the flow gives')
      return { replica: '', epoch: 0, pid: 0, mono: mono() }
    }
    const asked = flowRequest(SAID)
    one.client = new Client({ everyMs: EVERY_MS, withinMs: PATIENCE_MS, target: () => target, asked, read })
    return new Subject(one, group, token)
  }

  async close(): Promise<void> {
    this.streams.close()
    await this.one.close()
  }

  async measure(what: What): Promise<Measured> {
    const { one, group, streams } = this
    const { client } = one
    await settled(one, group)
    await until('all streams are open', () => streams.open === STREAMS, SETTLED_MS)
    const [from, before, { epoch }] = [mono(), streams.counts, one.lease]
    await this.play(what)
    await sleep(LASTS_MS)
    await settled(one, group)
    await sleep(AFTER_MS)
    const calls = client.calls.filter(({ sentAt }) => sentAt >= from)
    const after = streams.counts
    return {
      takeovers: group.mode === 'plain' ? [] : await this.takeoversAfter(epoch, calls),
      calls: calls.length,
      failed: calls.filter(({ failure }) => failure !== null).length,
      longestWaitMs: Math.max(...calls.map(({ sentAt, endedAt }) => endedAt - sentAt)),
      longestSilenceMs: client.since(from).longestSilenceMs,
      failures: client.since(from).failures,
      cut: after.cut - before.cut,
      ended: after.ended - before.ended,
      refused: after.refused - before.refused,
    }
  }

  private async takeoversAfter(epoch: number, calls: readonly Call[]): Promise<Phases[]> {
    const { kube, namespace, logs } = this.one
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/langflow-leader-lock`
    const lease = await kube.get<Lease>(path)
    const logOf = (pod: string) => logs.ours(pod)
    return takeoversAfter(epoch, {
      terms: historyOf(lease),
      logOf,
      calls,
      wallAtMono0: Date.now() - mono(),
    })
  }

  private async play(what: What): Promise<void> {
    const { one, group } = this
    if (what === 'switchover') {
      await one.kubectl('annotate', 'lease/langflow-leader-lock', `${SWITCHOVER_TO}=${ANYBODY}`)
      return
    }
    if (what === 'rollout') {
      await one.changeTemplate()
      return
    }
    if (what === 'api-frozen') {
      const { pid } = nodeProgram('kube-apiserver')
      process.kill(pid, 'SIGSTOP')
      await sleep(FROZEN_MS)
      process.kill(pid, 'SIGCONT')
      return
    }
    const victim = group.mode === 'plain' ? (await one.pods())[0] : await one.leader()
    if (victim === undefined) throw new Error('there is no pod')
    const { name } = victim.metadata
    if (what === 'delete-pod') await one.kubectl('delete', 'pod', name, '--wait=false')
    else if (what === 'eviction') await evict(one, name)
    else if (what === 'worker-killed') process.kill(workerOf(victim), 'SIGKILL')
    else killContainers(victim)
  }
}

interface Measured {
  readonly takeovers: readonly Phases[]
  readonly calls: number
  readonly failed: number
  readonly longestWaitMs: number
  readonly longestSilenceMs: number
  readonly failures: Readonly<Record<string, number>>
  readonly cut: number
  readonly ended: number
  readonly refused: number
}

async function settled(one: Installation, { mode, replicas }: Group): Promise<void> {
  if (mode !== 'plain') await one.settled(replicas, SETTLED_MS)
  else {
    const areReady = async () => {
      const pods = await one.pods().catch(() => [])
      return pods.length === replicas && pods.every(isReady)
    }
    await until('all pods are Ready', areReady, SETTLED_MS)
  }
  await one.available(mode === 'readiness' ? 1 : replicas)
  await until(
    'none is on its way out',
    async () => {
      const pods = await one.pods().catch(() => [])
      return (
        pods.length === replicas && pods.every(({ metadata }) => metadata.deletionTimestamp === undefined)
      )
    },
    SETTLED_MS,
  )
}

/** The flow `echo`, of the components of the LangFlow that runs there. */
async function installFlow(one: Installation, token: string): Promise<void> {
  const [pod] = await one.pods()
  const exec = ['exec', '--stdin', pod?.metadata.name ?? '', '--container=langflow', '--']
  const script = 'python - /tmp/echo.json >&2 && cat /tmp/echo.json'
  const written = await one.kube.kubectl(
    [`--namespace=${one.namespace}`, ...exec, 'sh', '-c', script],
    readFileSync(FLOW, 'utf8'),
  )
  const answer = await fetch(`${one.url}/api/v1/flows/`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: written,
  })
  if (!answer.ok) throw new Error(`LangFlow took no flow: ${answer.status} ${await answer.text()}`)
}

/** As a drain does it. */
async function evict(one: Installation, name: string): Promise<void> {
  const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace: one.namespace } }
  const path = `/api/v1/namespaces/${one.namespace}/pods/${name}/eviction`
  await one.kube.kubectl(['create', '--raw', path, '-f', '-'], JSON.stringify(eviction))
}

/** Of LangFlow's processes the one that serves: it has a Python above it, and none below. */
function workerOf(pod: Pod): number {
  const python = processesOf(pod, 'langflow').filter(({ command }) => command.includes('langflow'))
  const pids = new Set(python.map(({ pid }) => pid))
  const all = readProcesses()
  const parentOf = (pid: number) => all.get(pid)?.ppid ?? 0
  const parents = new Set([...pids].map(parentOf))
  const worker = [...pids].filter((pid) => pids.has(parentOf(pid)) && !parents.has(pid)).sort((a, b) => a - b)
  if (worker[0] === undefined) throw new Error(`${pod.metadata.name} has no worker`)
  return worker[0]
}

/** Median and, in brackets, the longest. */
function seconds(times: readonly number[]): string {
  return `${(percentile(times, 0.5) / 1000).toFixed(2)} s (${(Math.max(...times) / 1000).toFixed(2)})`
}

/** One round of the measurement, as it stands in the file of results. */
interface Round {
  readonly row: string
  readonly kubernetes: string
  readonly measured: Measured
}

function rowOf([name, all]: [string, readonly Round[]]): string[] {
  const rounds = all.map(({ measured }) => measured)
  const each = (of: (one: Measured) => number) => rounds.map(of).join(', ')
  return [
    ...wordsOf(name),
    String(all.length),
    rounds.map(({ failed, calls }) => `${failed} of ${calls}`).join(', '),
    seconds(rounds.map(({ longestWaitMs }) => longestWaitMs)),
    seconds(rounds.map(({ longestSilenceMs }) => longestSilenceMs)),
    each(({ ended }) => ended),
    each(({ cut }) => cut),
    each(({ refused }) => refused),
  ]
}

/** `[]`: nobody took over, or nobody noted it. */
function phaseRowOf([name, all]: [string, readonly Round[]]): string[][] {
  const takeovers = all.flatMap(({ measured }) => measured.takeovers)
  if (takeovers.length === 0) return []
  const cells = (Object.keys(PHASES) as (keyof Phases)[]).map((phase) => {
    const known = takeovers.flatMap((one) => one[phase] ?? [])
    return known.length === 0 ? '-' : seconds(known)
  })
  return [[...wordsOf(name), String(takeovers.length), ...cells]]
}

function wordsOf(name: string): string[] {
  const [mode = '', kind = '', replicas = '', what = ''] = name.split('/')
  return [mode, `${kind}, ${replicas}`, what]
}

function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return table(
    head,
    head.map((_, n) => (n < 3 ? '-' : '-:')),
    rows,
  )
}

const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: { results: { type: 'string' } },
})
const times = /^\d+$/.test(wanted.at(-1) ?? '') ? Number(wanted.pop()) : 5
const nameOf = ({ mode, kind, replicas }: Group, what: What) => `${mode}/${kind}/${replicas}/${what}`
const isWanted = (name: string) => wanted.length === 0 || wanted.some((one) => name.startsWith(one))
const rounds: Round[] = []
if (options.results !== undefined && existsSync(options.results))
  for (const line of readFileSync(options.results, 'utf8').trim().split('\n'))
    rounds.push(JSON.parse(line) as Round)
if (times > 0) await measureAll()

async function measureAll(): Promise<void> {
  const kube = new Kube()
  const { gitVersion: kubernetes } = await kube.get<{ gitVersion: string }>('/version')
  for (const group of GROUPS) {
    const whats = group.whats.filter((what) => isWanted(nameOf(group, what)))
    if (whats.length === 0) continue
    const subject = await Subject.start(kube, group)
    try {
      for (const what of whats)
        for (let n = 0; n < times; n++) {
          const round = { row: nameOf(group, what), kubernetes, measured: await subject.measure(what) }
          rounds.push(round)
          if (UNNOTICED.has(what) && group.mode === 'front' && round.measured.failed > 0)
            process.stderr.write(`${await subject.one.evidence()}\n`)
          const line = `${JSON.stringify(round)}\n`
          process.stderr.write(line)
          if (options.results !== undefined) appendFileSync(options.results, line)
        }
    } catch (error) {
      process.exitCode = 1
      process.stderr.write(`${(error as Error).stack}\n${await subject.one.evidence()}\n`)
    } finally {
      await subject.close()
    }
  }
  await kube.close()
}

// In the order of GROUPS, whatever was measured first.
const byName = GROUPS.flatMap((group) => group.whats.map((what) => nameOf(group, what))).flatMap(
  (name): [string, Round[]][] => {
    const all = rounds.filter(({ row }) => row === name)
    return all.length === 0 ? [] : [[name, all]]
  },
)
const head = ['mode', 'workload', 'what', 'n']
const ends = ['failed', 'longest wait', 'longest silence', 'streams ended', 'cut', 'not opened']
const versions = [...new Set(rounds.map(({ kubernetes }) => kubernetes))].join(', ')
const text = [
  `Written by \`npm run bench:cluster\` on a cluster of one node with two cores (date: ${new Date().toISOString().slice(0, 10)}; Kubernetes: ${versions}), with LangFlow 1.13.0 on PostgreSQL. A client runs a flow ${1000 / EVERY_MS} times a second through the Service (\`POST ${ECHO_PATH}\`), on a new connection each time, and repeats no request; it opens ten SSE streams of LangFlow's MCP server again when they end. Times: median and, in brackets, the longest. \`front\` is deploy/production, \`readiness\` deploy/base with warm standbys, \`plain\` two LangFlows, both active. Streams *ended* had their proper end; streams *cut* did not.`,
  tableOf([...head, ...ends], byName.map(rowOf)),
  'The phases of each takeover, from the Lease and the logs. Each phase counts from the end of the one before: the leader drains, stops LangFlow and releases the Lease; the next leader detects that, acquires the Lease, starts LangFlow and finds it healthy; the first client gets its answer.',
  tableOf([...head, ...Object.values(PHASES)], byName.flatMap(phaseRowOf)),
].join('\n\n')
if (wanted.length > 0) process.stdout.write(`${text}\n`)
else writeFileSync(PAGE, withPart(existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '', 'rollouts', text))

// The program that npm run bench:cluster runs inside a cluster. It measures, from a client's view, each kind of takeover with a
// real LangFlow on PostgreSQL: in front mode, in readiness mode, and with two LangFlows of a plain Deployment without
// langflow-leader. Then it writes its part of docs/evidence/takeovers.md.
//
// usage: measure.ts [--results FILE] [ROW...] [N]
//   ROW             measure only rows with this prefix, such as front/Deployment/2/rollout or plain/, and print to stdout
//   N               rounds per row (default: 5); with 0, only write the tables from FILE
//   --results FILE  append each round to FILE, and write the tables of all rounds in it, so that short runs add up
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Lease } from '../../../agent/lease/lease.ts'
import { historyOf } from '../../../agent/lease/lease-history.ts'
import { ANY_POD, SWITCHOVER_TO } from '../../../agent/lease/operator-annotations.ts'
import { readProcesses } from '../../../agent/processes/proc.ts'
import { Installation, type InstallationOptions } from '../../cluster/installation.ts'
import { isReady, Kube, type Pod } from '../../cluster/kube.ts'
import { killContainers, nodeProgram, processesOf } from '../../cluster/processes.ts'
import { fitToNode, LANGFLOW, type Workload } from '../../cluster/workload.ts'
import { rendered } from '../../deploy/helm.ts'
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

/** The order of measurements. Those that kill processes come last. */
const CAUSES = [
  'switchover',
  'rollout',
  'eviction',
  'delete-pod',
  'worker-killed',
  'replica-killed',
  'api-frozen',
] as const
type Cause = (typeof CAUSES)[number]

/** The causes after which no request fails in front mode. If one fails, the logs are printed. */
const UNNOTICED: ReadonlySet<Cause> = new Set<Cause>(['switchover', 'rollout', 'eviction', 'delete-pod'])

interface Group {
  readonly mode: Mode
  readonly kind: 'Deployment' | 'StatefulSet'
  readonly replicas: number
  readonly causes: readonly Cause[]
}

const GROUPS: readonly Group[] = [
  ...MODES.map((mode) => ({
    ...{ mode, kind: 'Deployment' as const, replicas: 2 },
    causes: CAUSES.filter((cause) => mode !== 'plain' || cause !== 'switchover'),
  })),
  { mode: 'front', kind: 'Deployment', replicas: 3, causes: ['rollout'] },
  { mode: 'front', kind: 'StatefulSet', replicas: 2, causes: ['rollout'] },
]

const PAGE = join(import.meta.dirname, '../../../docs/evidence/takeovers.md')
const STREAMS = 10
/** Enough for the start of two LangFlows on two cores. */
const SETTLED_MS = 300_000
/** Enough for a takeover to end, even if no event shows its start, and for late failures to arrive. */
const LASTS_MS = 20_000
const AFTER_MS = 3_000
/** Longer than any lease duration. */
const PATIENCE_MS = 40_000
const FROZEN_MS = 12_000
/** Time between two requests. Each runs a flow, so none can be retried. */
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
  if (mode === 'plain') return { workload: WORKLOAD, adopt: installPlain }
  const values = { kind, replicas, standby: 'warm', database: { trial: true } }
  return { workload: WORKLOAD, values, file: mode === 'front' ? 'langflow-production.yaml' : 'langflow.yaml' }
}

/** Installs two active LangFlows in a plain Deployment on one database. */
async function installPlain(one: Installation, plain: readonly Manifest[]): Promise<void> {
  const [deployment] = plain
  const { manifests } = await rendered({ database: { trial: true }, storage: { type: 'none' } })
  const database = manifests.filter(({ metadata: { name } }) => name.startsWith('langflow-postgresql'))
  fitToNode(database)
  const from = { secretKeyRef: { name: 'langflow-postgresql', key: 'database-url' } }
  const container = deployment?.spec.template.spec.containers[0]
  container.env.push(
    { name: 'LANGFLOW_DATABASE_URL', valueFrom: from },
    { name: 'LANGFLOW_SECRET_KEY', value: Buffer.alloc(32, 7).toString('base64url') },
  )
  container.readinessProbe = { httpGet: { path: '/health_check', port: 7860 }, periodSeconds: 1 }
  container.args = ['langflow', 'run', '--host', '0.0.0.0', '--backend-only']
  // Otherwise, Kubernetes sets LANGFLOW_PORT for the Service, and so overwrites LangFlow's own setting.
  if (deployment) deployment.spec.template.spec.enableServiceLinks = false
  if (deployment) delete deployment.spec.minReadySeconds
  await one.apply(database)
  await one.kubectl('rollout', 'status', 'statefulset/langflow-postgresql', `--timeout=${SETTLED_MS}ms`)
  // One replica first, because two that make the tables of an empty database at the same time disturb each other.
  const { replicas } = deployment?.spec ?? {}
  if (deployment) deployment.spec.replicas = 1
  await one.apply(plain)
  await one.kubectl('rollout', 'status', one.name, `--timeout=${SETTLED_MS}ms`)
  await one.kubectl('scale', one.name, `--replicas=${replicas}`)
}

/** An installation to measure, with its clients. */
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
      if (outputOf(text) !== SAID) throw new Error('the answer is not the output of the flow')
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

  async measure(cause: Cause): Promise<Measured> {
    const { one, group, streams } = this
    const { client } = one
    await settled(one, group)
    await until('all streams are open', () => streams.open === STREAMS, SETTLED_MS)
    const [from, before, { epoch }] = [mono(), streams.counts, one.lease]
    await this.play(cause)
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

  private async play(cause: Cause): Promise<void> {
    const { one, group } = this
    if (cause === 'switchover') {
      await one.kubectl('annotate', 'lease/langflow-leader-lock', `${SWITCHOVER_TO}=${ANY_POD}`)
      return
    }
    if (cause === 'rollout') {
      await one.changeTemplate()
      return
    }
    if (cause === 'api-frozen') {
      const { pid } = nodeProgram('kube-apiserver')
      process.kill(pid, 'SIGSTOP')
      await sleep(FROZEN_MS)
      process.kill(pid, 'SIGCONT')
      return
    }
    const victim = group.mode === 'plain' ? (await one.pods())[0] : await one.leader()
    if (victim === undefined) throw new Error('the installation has no pod')
    const { name } = victim.metadata
    if (cause === 'delete-pod') await one.kubectl('delete', 'pod', name, '--wait=false')
    else if (cause === 'eviction') await evict(one, name)
    else if (cause === 'worker-killed') process.kill(workerOf(victim), 'SIGKILL')
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
    'no pod is terminating',
    async () => {
      const pods = await one.pods().catch(() => [])
      return (
        pods.length === replicas && pods.every(({ metadata }) => metadata.deletionTimestamp === undefined)
      )
    },
    SETTLED_MS,
  )
}

/** Installs the flow `echo`, made from the components of the LangFlow in the cluster. */
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
  if (!answer.ok) throw new Error(`LangFlow refused the flow: ${answer.status} ${await answer.text()}`)
}

/** Evicts a pod, as a drain does. */
async function evict(one: Installation, name: string): Promise<void> {
  const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace: one.namespace } }
  const path = `/api/v1/namespaces/${one.namespace}/pods/${name}/eviction`
  await one.kube.kubectl(['create', '--raw', path, '-f', '-'], JSON.stringify(eviction))
}

/** The LangFlow process that serves: its parent is a Python process of LangFlow, and it has no such child. */
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

/** The median and, in brackets, the longest. */
function seconds(times: readonly number[]): string {
  return `${(percentile(times, 0.5) / 1000).toFixed(2)} s (${(Math.max(...times) / 1000).toFixed(2)})`
}

/** One round of the measurement, as a line in the file of results. */
interface Round {
  readonly row: string
  readonly kubernetes: string
  readonly measured: Measured
}

function rowOf([name, all]: [string, readonly Round[]]): string[] {
  const rounds = all.map(({ measured }) => measured)
  const each = (of: (one: Measured) => number) => rounds.map(of).join(', ')
  return [
    ...labelsOf(name),
    String(all.length),
    rounds.map(({ failed, calls }) => `${failed} of ${calls}`).join(', '),
    seconds(rounds.map(({ longestWaitMs }) => longestWaitMs)),
    seconds(rounds.map(({ longestSilenceMs }) => longestSilenceMs)),
    each(({ ended }) => ended),
    each(({ cut }) => cut),
    each(({ refused }) => refused),
  ]
}

/** The row of phases, or no row if no takeover was recorded. */
function phaseRowOf([name, all]: [string, readonly Round[]]): string[][] {
  const takeovers = all.flatMap(({ measured }) => measured.takeovers)
  if (takeovers.length === 0) return []
  const cells = (Object.keys(PHASES) as (keyof Phases)[]).map((phase) => {
    const known = takeovers.flatMap((one) => one[phase] ?? [])
    return known.length === 0 ? '-' : seconds(known)
  })
  return [[...labelsOf(name), String(takeovers.length), ...cells]]
}

function labelsOf(name: string): string[] {
  const [mode = '', kind = '', replicas = '', cause = ''] = name.split('/')
  return [mode, `${kind}, ${replicas}`, cause]
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
const nameOf = ({ mode, kind, replicas }: Group, cause: Cause) => `${mode}/${kind}/${replicas}/${cause}`
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
    const causes = group.causes.filter((cause) => isWanted(nameOf(group, cause)))
    if (causes.length === 0) continue
    const subject = await Subject.start(kube, group)
    try {
      for (const cause of causes)
        for (let n = 0; n < times; n++) {
          const round = { row: nameOf(group, cause), kubernetes, measured: await subject.measure(cause) }
          rounds.push(round)
          if (UNNOTICED.has(cause) && group.mode === 'front' && round.measured.failed > 0)
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

// The rows have the order of GROUPS, not the order of the measurements.
const byName = GROUPS.flatMap((group) => group.causes.map((cause) => nameOf(group, cause))).flatMap(
  (name): [string, Round[]][] => {
    const all = rounds.filter(({ row }) => row === name)
    return all.length === 0 ? [] : [[name, all]]
  },
)
const head = ['mode', 'workload', 'cause', 'n']
const ends = ['failed', 'longest wait', 'longest silence', 'streams ended', 'cut', 'not opened']
const versions = [...new Set(rounds.map(({ kubernetes }) => kubernetes))].join(', ')
const text = [
  `\`npm run bench:cluster\` writes this part, on a cluster of one node with two cores (date: ${new Date().toISOString().slice(0, 10)}; Kubernetes: ${versions}), with LangFlow 1.13.0 on PostgreSQL. A client runs a flow ${1000 / EVERY_MS} times a second through the Service (\`POST ${ECHO_PATH}\`), on a new connection each time, without retries. It also keeps ten SSE streams of LangFlow's MCP server open, and opens each again when it ends. Times: median and, in brackets, the longest. \`front\` is deploy/production, \`readiness\` deploy/base with warm standbys, \`plain\` two active LangFlows without langflow-leader. Streams *ended* had their proper end; streams *cut* did not.`,
  tableOf([...head, ...ends], byName.map(rowOf)),
  'The phases of each takeover, from the Lease and the logs. Each phase counts from the end of the one before: the leader drains, stops LangFlow and releases the Lease; the next leader detects the release, acquires the Lease, starts LangFlow and finds it healthy; the first client gets its answer.',
  tableOf([...head, ...Object.values(PHASES)], byName.flatMap(phaseRowOf)),
].join('\n\n')
if (wanted.length > 0) process.stdout.write(`${text}\n`)
else writeFileSync(PAGE, withPart(existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '', 'rollouts', text))

// What npm run bench:cluster runs inside a cluster: what a client notices of each kind of takeover, with the real LangFlow on
// PostgreSQL, in front mode, in readiness mode, and with two LangFlows of a plain Deployment that know of no leader. Writes its
// part of docs/deploy.md. With arguments only those rows, on stdout: front/Deployment/2/rollout, or plain/; the last number is how
// often, such as `front/ 3`.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readProcesses } from '../../agent/processes/proc.ts'
import type { Manifest } from '../deploy/manifests.ts'
import { percentile, table, withPart } from '../harness/report.ts'
import { mono, until } from '../harness/wait.ts'
import { EventStreams } from './event-streams.ts'
import { Installation, type InstallationOptions, rendered } from './installation.ts'
import { isReady, Kube, type Pod } from './kube.ts'
import { killContainers, nodeProgram, processesOf } from './processes.ts'
import { fitToNode, LANGFLOW, type Workload } from './workload.ts'

const MODES = ['front', 'readiness', 'plain'] as const
type Mode = (typeof MODES)[number]

/** In this order: what kills comes last. */
const WHATS = ['rollout', 'eviction', 'delete-pod', 'worker-killed', 'replica-killed', 'api-frozen'] as const
type What = (typeof WHATS)[number]

interface Group {
  readonly mode: Mode
  readonly kind: 'Deployment' | 'StatefulSet'
  readonly replicas: number
  readonly whats: readonly What[]
}

const GROUPS: readonly Group[] = [
  ...MODES.map((mode) => ({ mode, kind: 'Deployment' as const, replicas: 2, whats: WHATS })),
  { mode: 'front', kind: 'Deployment', replicas: 3, whats: ['rollout'] },
  { mode: 'front', kind: 'StatefulSet', replicas: 2, whats: ['rollout'] },
]

const PAGE = join(import.meta.dirname, '../../docs/deploy.md')
const STREAMS = 10
/** Two whole LangFlows on two cores. */
const SETTLED_MS = 300_000
/** What a takeover leaves is over by then, also where nothing shows when it begins; and what comes late has come. */
const LASTS_MS = 20_000
const AFTER_MS = 3_000
/** Longer than any lease. */
const PATIENCE_MS = 40_000
const FROZEN_MS = 12_000
const WORKLOAD: Workload = {
  ...LANGFLOW,
  // What nobody may repeat, and LangFlow answers at once.
  ...{ path: '/api/v1/logout', asked: { method: 'POST' }, withinMs: PATIENCE_MS },
  read: () => ({ replica: '', epoch: 0, pid: 0, mono: mono() }),
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
    const [from, before] = [mono(), streams.counts]
    await this.play(what)
    await sleep(LASTS_MS)
    await settled(one, group)
    await sleep(AFTER_MS)
    const calls = client.calls.filter(({ sentAt }) => sentAt >= from)
    const after = streams.counts
    return {
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

  private async play(what: What): Promise<void> {
    const { one, group } = this
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

function row({ mode, kind, replicas }: Group, what: What, all: readonly Measured[]): string[] {
  const each = (of: (one: Measured) => number) => all.map(of).join(', ')
  return [
    mode,
    `${kind}, ${replicas}`,
    what,
    String(all.length),
    all.map(({ failed, calls }) => `${failed} of ${calls}`).join(', '),
    seconds(all.map(({ longestWaitMs }) => longestWaitMs)),
    seconds(all.map(({ longestSilenceMs }) => longestSilenceMs)),
    each(({ ended }) => ended),
    each(({ cut }) => cut),
    each(({ refused }) => refused),
  ]
}

const wanted = process.argv.slice(2)
const times = /^\d+$/.test(wanted.at(-1) ?? '') ? Number(wanted.pop()) : 5
const isWanted = ({ mode, kind, replicas }: Group, what: What) =>
  wanted.length === 0 || wanted.some((name) => `${mode}/${kind}/${replicas}/${what}`.startsWith(name))
const kube = new Kube()
const rows: string[][] = []
for (const group of GROUPS) {
  const whats = group.whats.filter((what) => isWanted(group, what))
  if (whats.length === 0) continue
  const subject = await Subject.start(kube, group)
  try {
    for (const what of whats) {
      const all: Measured[] = []
      for (let round = 0; round < times; round++) {
        const measured = await subject.measure(what)
        all.push(measured)
        process.stderr.write(
          `${group.mode}/${group.kind}/${group.replicas}/${what}: ${JSON.stringify(measured)}\n`,
        )
      }
      rows.push(row(group, what, all))
    }
  } catch (error) {
    process.exitCode = 1
    process.stderr.write(`${(error as Error).stack}\n${await subject.one.evidence()}\n`)
  } finally {
    await subject.close()
  }
}
const { gitVersion } = await kube.get<{ gitVersion: string }>('/version')
await kube.close()
const names = 'mode|workload|what|n|failed|longest wait|longest silence|streams ended|cut|not opened'
const text = [
  `Written by \`npm run bench:cluster\` on a cluster of one node with two cores (date: ${new Date().toISOString().slice(0, 10)}; Kubernetes: ${gitVersion}), with LangFlow 1.13.0 on PostgreSQL. A client sends 20 POSTs a second through the Service, each on a connection of its own, and never tries twice; ten SSE streams of LangFlow's MCP server are opened again where they end. Times: median and, in brackets, the longest. \`front\` is deploy/production, \`readiness\` deploy/base with warm standbys, \`plain\` two LangFlows that both act. Streams *ended* had their proper end, *cut* had none.`,
  table(
    names.split('|'),
    names.split('|').map((_, n) => (n < 3 ? '-' : '-:')),
    rows,
  ),
].join('\n\n')
if (wanted.length > 0) process.stdout.write(`${text}\n`)
else writeFileSync(PAGE, withPart(existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '', 'rollouts', text))

// The program that npm run bench:cluster runs inside a cluster. It plays each kind of failure and of planned change while a client
// runs a flow through the Service, with the real LangFlow on PostgreSQL and the chart's defaults, and compares one replica without
// langflow-leader, a cold standby and a warm one. Then it writes its part of docs/evidence/takeovers.md.
//
// usage: measure.ts [--results FILE] [ROW...] [N]
//   ROW             measure only rows with this prefix, such as warm/rollout or one/, and print to stdout
//   N               rounds per row (default: 5); with 0, only write the table from FILE
//   --results FILE  append each round to FILE, and write the table of all rounds in it, so that short runs add up
import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import { ANY_POD, SWITCHOVER_TO } from '../../../agent/lease/operator-annotations.ts'
import { readProcesses } from '../../../agent/processes/proc.ts'
import { runFlows } from '../../cluster/echo-flow.ts'
import { Installation } from '../../cluster/installation.ts'
import { isReady, Kube, type Pod } from '../../cluster/kube.ts'
import { killContainers, nodeProgram, processesOf } from '../../cluster/processes.ts'
import { fitToNode, LANGFLOW, plainLangflow } from '../../cluster/workload.ts'
import { workloadOf } from '../../deploy/consistency.ts'
import { rendered } from '../../deploy/helm.ts'
import type { Manifest } from '../../deploy/manifests.ts'
import { bcryptMs, table } from '../../harness/report.ts'
import { mono, until } from '../../harness/wait.ts'
import { withPart } from '../page-parts.ts'
import { percentile } from '../percentiles.ts'

const GROUPS = {
  one: 'one replica without langflow-leader',
  cold: 'cold standby',
  warm: 'warm standby',
} as const
type Group = keyof typeof GROUPS

/** The order of measurements. Those that kill processes come last. */
const CAUSES = {
  switchover: 'switchover',
  rollout: 'rollout',
  'delete-pod': 'pod deleted',
  'worker-killed': 'worker killed',
  'langflow-killed': 'LangFlow’s container killed',
  'api-away': 'API server away for 60 s',
  'node-lost': 'node lost',
} as const
type Cause = keyof typeof CAUSES

const PAGE = join(import.meta.dirname, '../../../docs/evidence/takeovers.md')
/** Enough for the start of two LangFlows on two cores. */
const SETTLED_MS = 300_000
/** Enough for each effect of a cause to begin, and then for each late failure to arrive. */
const BEGINS_MS = 5_000
const AFTER_MS = 3_000
const AWAY_MS = 60_000
/** Without the kubelet's renewals, Kubernetes takes the only node for lost after 40 s, and every pod out of the Service. */
const LOST_MS = 30_000
/** Two runs a second. A front may hold a request for 60 s. */
const EVERY_MS = 500
const PATIENCE_MS = 70_000

/** One node can't show that Kubernetes starts a pod elsewhere, and a cold LangFlow serves only after LOST_MS. */
const UNMEASURED: readonly string[] = ['one/switchover', 'one/node-lost', 'cold/node-lost']

const NOTES = `- \`-\`: one node can't show that Kubernetes starts a pod elsewhere.
- **Node lost**: all containers of the leader are killed, and the kubelet stands still for 30 s. Meanwhile its address stays in the Service.
- **API server away**: each failed run was a refused connection, also to the one replica. Kubernetes removes the addresses of a node whose kubelet
  can't report for 40 s.`

async function manifestsOf(group: Group): Promise<Manifest[]> {
  const standby = group === 'cold' ? 'cold' : 'warm'
  const { manifests } = await rendered({ standby, database: { trial: true }, storage: { type: 'none' } })
  fitToNode(manifests)
  return group === 'one' ? withoutLeader(manifests) : manifests
}

/** The chart's LangFlow with its settings and volumes, as its users run it alone. */
function withoutLeader(manifests: readonly Manifest[]): Manifest[] {
  const deployment = workloadOf(manifests)
  const { spec } = deployment.spec.template
  const [{ command: _, ...langflow }] = spec.containers
  const probe = (path: string, periodSeconds: number, failureThreshold: number) => ({
    httpGet: { path, port: 7860 },
    ...{ periodSeconds, failureThreshold },
  })
  const container = {
    ...langflow,
    args: ['langflow', 'run', '--host', '0.0.0.0', '--port', '7860'],
    startupProbe: probe('/health_check', 1, 300),
    readinessProbe: probe('/health_check', 1, 3),
    livenessProbe: probe('/health', 10, 3),
  }
  Object.assign(deployment.spec, { replicas: 1, strategy: { type: 'Recreate' }, minReadySeconds: 0 })
  Object.assign(spec, { initContainers: [], containers: [container], serviceAccountName: 'default' })
  const [, service] = plainLangflow()
  const beside = manifests.filter(({ kind, metadata: { name } }) => {
    return (kind === 'Secret' || name.startsWith('langflow-postgresql')) && kind !== 'NetworkPolicy'
  })
  return [...beside, service as Manifest, deployment]
}

/** One round of the measurement, as a line in the file of results. */
interface Round {
  readonly row: string
  readonly commit: string
  readonly date: string
  readonly bcryptMs: number
  readonly calls: number
  readonly failed: number
  readonly silenceMs: number
  readonly failures: Readonly<Record<string, number>>
}

async function start(kube: Kube, group: Group): Promise<Installation> {
  const workload = { ...LANGFLOW, prepare: () => [], withinMs: PATIENCE_MS, startMs: SETTLED_MS }
  const adopt = async (one: Installation) => one.apply(await manifestsOf(group))
  const one = await Installation.start(kube, { traffic: 'front', workload, adopt })
  await settled(one, group)
  await runFlows(one, EVERY_MS, PATIENCE_MS)
  return one
}

async function measure(
  one: Installation,
  group: Group,
  cause: Cause,
): Promise<Omit<Round, 'row' | keyof Place>> {
  await settled(one, group)
  const from = mono()
  const recovered = await play(one, group, cause)
  await sleep(BEGINS_MS)
  await settled(one, group)
  await sleep(AFTER_MS)
  const { calls, failed, longestSilenceMs, failures } = one.client.since(from)
  await recovered()
  return { calls, failed, silenceMs: longestSilenceMs, failures }
}

/** Resolves to what follows the measurement: after a crash, a new pod, since Kubernetes delays each further restart. */
async function play(one: Installation, group: Group, cause: Cause): Promise<() => Promise<unknown>> {
  const victim = group === 'one' ? ((await one.pods())[0] as Pod) : await one.leader()
  const { name } = victim.metadata
  const renewed = async () => {
    await one.kubectl('delete', 'pod', name, '--ignore-not-found')
    await settled(one, group)
  }
  const nothing = async () => {}
  switch (cause) {
    case 'switchover':
      await one.kubectl('annotate', 'lease/langflow-leader-lock', `${SWITCHOVER_TO}=${ANY_POD}`)
      return nothing
    case 'rollout':
      await one.changeTemplate()
      return nothing
    case 'delete-pod':
      await one.kubectl('delete', 'pod', name, '--wait=false')
      return nothing
    case 'worker-killed':
      process.kill(workerOf(victim), 'SIGKILL')
      return renewed
    case 'langflow-killed':
      for (const { pid } of processesOf(victim, 'langflow')) process.kill(pid, 'SIGKILL')
      return renewed
    case 'api-away':
      await paused('kube-apiserver', AWAY_MS, () => {})
      return nothing
    case 'node-lost':
      await paused('kubelet', LOST_MS, () => killContainers(victim))
      return renewed
  }
}

async function paused(program: string, forMs: number, act: () => void): Promise<void> {
  const { pid } = nodeProgram(program)
  process.kill(pid, 'SIGSTOP')
  try {
    act()
    await sleep(forMs)
  } finally {
    process.kill(pid, 'SIGCONT')
  }
}

async function settled(one: Installation, group: Group): Promise<void> {
  const replicas = group === 'one' ? 1 : 2
  if (group !== 'one') {
    await one.settled(replicas, SETTLED_MS)
    // The leader needs the consent of its members in an outage. Some seconds after a change of pods, these are the others.
    const isListed = async () => {
      const [all, { failsafe }] = [await one.statuses(), await one.status(await one.leader())]
      const others = all.filter(({ role }) => role === 'follower').map(({ identity }) => identity)
      return isDeepStrictEqual(failsafe?.members, others)
    }
    await until('the leader has listed the other replica', () => isListed().catch(() => false), SETTLED_MS)
  }
  const isSettled = async () => {
    const pods = await one.pods().catch(() => [])
    const isLive = (pod: Pod) => isReady(pod) && pod.metadata.deletionTimestamp === undefined
    return pods.length === replicas && pods.every(isLive)
  }
  await until('all pods are Ready, and none is terminating', isSettled, SETTLED_MS)
  const from = mono()
  await until('an answer through the Service', () => one.client.answered(from) > 0, SETTLED_MS)
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

/** Where and on what a round was measured. */
type Place = Pick<Round, 'commit' | 'date' | 'bcryptMs'>

function placeOf(): Place {
  const git = ['-c', 'safe.directory=*', 'rev-parse', '--short=8', 'HEAD']
  const commit = execFileSync('git', git, { encoding: 'utf8', cwd: import.meta.dirname }).trim()
  return { commit, date: new Date().toISOString().slice(0, 10), bcryptMs: bcryptMs() }
}

async function measureAll(
  names: readonly string[],
  times: number,
  done: (round: Round) => void,
): Promise<void> {
  const kube = new Kube()
  for (const group of Object.keys(GROUPS) as Group[]) {
    const causes = (Object.keys(CAUSES) as Cause[]).filter((cause) => names.includes(`${group}/${cause}`))
    if (causes.length === 0) continue
    const one = await start(kube, group)
    try {
      for (const cause of causes)
        for (let n = 0; n < times; n++)
          done({ row: `${group}/${cause}`, ...placeOf(), ...(await measure(one, group, cause)) })
    } catch (error) {
      process.exitCode = 1
      process.stderr.write(`${(error as Error).stack}\n${await one.evidence()}\n`)
    } finally {
      await one.close()
    }
  }
  await kube.close()
}

function textOf(rounds: readonly Round[]): string {
  const cellOf = (group: string, cause: string) => {
    const all = rounds.filter(({ row }) => row === `${group}/${cause}`)
    if (all.length === 0) return '-'
    const sum = (of: (round: Round) => number) => all.map(of).reduce((a, b) => a + b)
    const silences = all.map(({ silenceMs }) => silenceMs)
    const [median, max] = [percentile(silences, 0.5), Math.max(...silences)].map((ms) =>
      (ms / 1000).toFixed(1),
    )
    return `${median}/${max} s, ${sum(({ failed }) => failed)}/${sum(({ calls }) => calls)} (${all.length})`
  }
  const rows = Object.entries(CAUSES).map(([cause, name]) => [
    name,
    ...Object.keys(GROUPS).map((group) => cellOf(group, cause)),
  ])
  const each = (of: (round: Round) => string) => [...new Set(rounds.map(of))].sort().join(', ')
  const bcrypt = rounds.map(({ bcryptMs }) => bcryptMs)
  return [
    `\`npm run bench:cluster\`: commit ${each(({ commit }) => commit)}, ${each(({ date }) => date)}, ${cpus().length} cores (${cpus()[0]?.model.trim()}), bcrypt with cost 12 ${percentile(bcrypt, 0.5)} ms; LangFlow 1.13.0 and the chart's defaults. Each cell: the longest time without an answer (median/max), failed/all runs of a flow, sent twice a second without a retry, and the number of rounds.`,
    table(['', ...Object.values(GROUPS)], ['-', '-:', '-:', '-:'], rows),
    NOTES,
  ].join('\n\n')
}

const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: { results: { type: 'string' } },
})
const times = /^\d+$/.test(wanted.at(-1) ?? '') ? Number(wanted.pop()) : 5
const { results } = options
const rounds: Round[] = []
if (results !== undefined && existsSync(results))
  for (const line of readFileSync(results, 'utf8').trim().split('\n')) rounds.push(JSON.parse(line) as Round)
const all = Object.keys(GROUPS).flatMap((group) => Object.keys(CAUSES).map((cause) => `${group}/${cause}`))
const names = all
  .filter((name) => !UNMEASURED.includes(name))
  .filter((name) => wanted.length === 0 || wanted.some((one) => name.startsWith(one)))
if (times > 0)
  await measureAll(names, times, (round) => {
    rounds.push(round)
    const line = `${JSON.stringify(round)}\n`
    process.stderr.write(line)
    if (results !== undefined) appendFileSync(results, line)
  })
if (wanted.length > 0) process.stdout.write(`${textOf(rounds)}\n`)
else
  writeFileSync(
    PAGE,
    withPart(existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '', 'rollouts', textOf(rounds)),
  )

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { helmProgram, type Values } from '../deploy/helm.ts'
import type { Tally } from '../harness/client.ts'
import { LangflowUser } from '../harness/langflow-items.ts'
import { commandsOfReadme } from '../harness/readme.ts'
import { mono, until } from '../harness/wait.ts'
import { loggedIn, runFlows } from './echo-flow.ts'
import type { Installation } from './installation.ts'
import { eventsOf } from './leadership.ts'
import { nodeProgram } from './processes.ts'
import { scenariosOn } from './scenario.ts'
import { LANGFLOW, POSTGRES_IMAGE } from './workload.ts'

const ROOT = join(import.meta.dirname, '../..')
/** Limit for the pause of clients: LangFlow takes some seconds to stop, and a warm standby some to serve. */
const AWAY_MS = 15_000

/** Longer than the Lease's duration. The full proof takes ten minutes: OUTAGE_S=600. */
const OUTAGE_MS = Number(process.env.OUTAGE_S ?? 40) * 1_000
const RUN_MS = 500

/** Limit for the commands of README, which wait for both pods. */
const WITHIN_MS = 300_000

/** The chart with the official LangFlow image on PostgreSQL, installed with the commands of README. */
const scenario = scenariosOn({
  traffic: 'front',
  // A front may hold a request for that long, so it is no failure before.
  workload: { ...LANGFLOW, prepare: () => [], withinMs: AWAY_MS },
  adopt: quickStart,
})

scenario(
  'with the installation of README, a flow and an API key are there after a failover',
  async (one, t) => {
    await one.settled(2, 120_000)
    const leader = await one.leader()
    const standby = (await one.pods()).find(({ metadata: { uid } }) => uid !== leader.metadata.uid)
    assert.ok(standby)
    assert.equal((await one.status(standby)).standby.mode, 'warm')

    const user = await loggedIn(one)
    const { api_key } = await user.make('/api/v1/api_key/', { name: 'quick start' })
    const { id } = await user.make('/api/v1/flows/', { name: 'kept', data: { nodes: [], edges: [] } })
    const kept = async () => {
      const text = await new LangflowUser(one.url, { 'x-api-key': api_key }).text(`/api/v1/flows/${id}`)
      assert.equal(JSON.parse(text).name, 'kept')
    }
    await kept()

    const { epoch } = one.lease
    const from = mono()
    await one.kubectl('delete', 'pod', leader.metadata.name, '--wait=false')
    await until(
      'the former standby serves',
      async () => {
        const { traffic, lease } = await one.status(standby)
        return lease.epoch === epoch + 1 && lease.self && traffic.gate === 'open'
      },
      60_000,
    )
    const taken = mono()
    await until('an answer through the Service', () => one.client.answered(taken) > 0, 10_000)
    const tally = one.client.since(from)
    t.diagnostic(JSON.stringify(tally))
    assert.ok(tally.longestSilenceMs < AWAY_MS)
    assert.equal(tally.failed, 0)
    await kept()
  },
)

scenario(
  'while the API server is away, runs of a flow are answered by consent, and a rollout right after it works',
  async (one, t) => {
    await one.settled(2, 120_000)
    const leader = await one.leader()
    const failsafe = async () => (await one.status(leader)).failsafe
    await until('a member', async () => (await failsafe())?.members.length === 1)
    await runFlows(one, RUN_MS, AWAY_MS)
    await until('a run', () => one.client.answers.length > 0)

    const { epoch } = one.lease
    const from = mono()
    const { pid } = nodeProgram('kube-apiserver')
    process.kill(pid, 'SIGSTOP')
    let during: Tally
    try {
      await sleep(OUTAGE_MS)
      assert.ok((await failsafe())?.byConsent)
      during = one.client.since(from)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    const back = mono()
    await one.changeTemplate()
    await one.kubectl('rollout', 'status', one.name, '--timeout=300s')
    await one.settled(2, 120_000)
    const [all, runs] = [one.client.since(from), one.client.calls.filter(({ sentAt }) => sentAt >= from)]
    const longest = (inTime: (endedAt: number) => boolean) =>
      Math.max(...runs.flatMap(({ sentAt, endedAt }) => (inTime(endedAt) ? [endedAt - sentAt] : [])))
    const waits = {
      outage: longest((endedAt) => endedAt < back),
      rollout: longest((endedAt) => endedAt >= back),
    }
    t.diagnostic(JSON.stringify({ during, all, waits }))
    assert.equal(during.failed, 0, JSON.stringify(during.failures))
    assert.equal(one.lease.epoch, epoch + 1)
    assert.deepEqual(eventsOf(one, leader, 0, 'doubt', 'workload_frozen', 'lost'), [])
  },
)

scenario('the launcher is PID 1 of LangFlow’s container, and kubectl exec works there', async (one) => {
  const { metadata } = await one.leader()
  const words = await one.kubectl(
    'exec',
    metadata.name,
    '--container=langflow',
    '--',
    'cat',
    '/proc/1/cmdline',
  )
  const [program, ...more] = words.split('\0')
  assert.equal(program, '/opt/langflow-leader/node')
  assert.ok(more.includes('--disable-sigusr1') && more.includes('launch'), words)
})

/** Values for a node of two cores, which pulls no images, and failsafe. */
const ON_NODE: Values = {
  // An outage of ten minutes ends shortly before the limit.
  flags: { failsafe: 'peers', 'failsafe-max': '11m' },
  image: { pullPolicy: 'Never' },
  langflow: { image: { pullPolicy: 'Never' }, resources: { requests: { cpu: '10m', memory: '32Mi' } } },
  agent: { resources: { requests: { cpu: '10m', memory: '32Mi' }, limits: { memory: '512Mi' } } },
  database: { trialImage: POSTGRES_IMAGE },
}

/** Runs the commands of README in the installation's namespace. */
async function quickStart(one: Installation): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'quick-start-'))
  try {
    // A user's kubeconfig has a context with a namespace, so this one gets it too.
    const kubeconfig = join(scratch, 'config')
    writeFileSync(kubeconfig, await one.kubectl('config', 'view', '--flatten', '--minify'))
    const context = ['config', 'set-context', '--current', `--namespace=${one.namespace}`]
    await one.kubectl(`--kubeconfig=${kubeconfig}`, ...context)
    const values = join(scratch, 'values.json')
    writeFileSync(values, JSON.stringify(ON_NODE))
    const PATH = `${dirname(helmProgram(4))}:${process.env.PATH}`
    const HOMES = { HELM_CACHE_HOME: scratch, HELM_CONFIG_HOME: scratch, HELM_DATA_HOME: scratch }
    await promisify(execFile)('sh', ['-e', '-c', commands(values)], {
      cwd: ROOT,
      env: { ...process.env, ...HOMES, PATH, KUBECONFIG: kubeconfig, REGISTRY: 'docker.io/library' },
      timeout: WITHIN_MS,
    })
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

/** The commands of README that install the chart, with more values. */
function commands(values: string): string {
  const block = commandsOfReadme('helm install')
  const chart = 'helm install langflow deploy/chart'
  assert.ok(block.includes(chart))
  return block.replace(chart, `${chart} --values=${values}`)
}

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Values } from '../deploy/helm.ts'
import type { Tally } from '../harness/client.ts'
import { LangflowUser } from '../harness/langflow-items.ts'
import { commandsOf, commandsOfReadme } from '../harness/readme.ts'
import { mono, until } from '../harness/wait.ts'
import { commandsOfGuide, MAKE_KEY, runFlows } from './echo-flow.ts'
import type { Installation } from './installation.ts'
import { identityOf } from './kube.ts'
import { eventsOf } from './leadership.ts'
import { nodeProgram } from './processes.ts'
import { scenariosOn } from './scenario.ts'
import { UserShell } from './user-shell.ts'
import { LANGFLOW, POSTGRES_IMAGE } from './workload.ts'

/** Limit for the pause of clients: LangFlow takes some seconds to stop, and a warm standby some to serve. */
const AWAY_MS = 15_000

/** Longer than the Lease's duration. The full proof takes ten minutes: OUTAGE_S=600. */
const OUTAGE_MS = Number(process.env.OUTAGE_S ?? 40) * 1_000
const RUN_MS = 500

/** The chart with the official LangFlow image on PostgreSQL, installed with the commands of README. */
const scenario = scenariosOn({
  traffic: 'front',
  // A front may hold a request for that long, so it is no failure before.
  workload: { ...LANGFLOW, prepare: () => [], withinMs: AWAY_MS },
  adopt: quickStart,
})

scenario(
  'with the installation of README, the first flow runs without a failure while the leader hands over, as its guide says',
  async (one, t) => {
    await one.settled(2, 120_000)
    const leader = await one.leader()
    const standby = (await one.pods()).find(({ metadata: { uid } }) => uid !== leader.metadata.uid)
    assert.ok(standby)
    assert.equal((await one.status(standby)).standby.mode, 'warm')

    const { epoch } = one.lease
    const from = mono()
    using user = await UserShell.open(one)
    const forward = user.start(commandsOfGuide('port-forward'))
    await once(forward.stdout, 'data', { signal: AbortSignal.timeout(30_000) })
    const loop = user.start(MAKE_KEY + commandsOfGuide('while curl'))
    const lines: string[] = []
    createInterface(loop.stdout).on('line', (line) => lines.push(line))
    const nextRun = () => {
      const { length } = lines
      return until('a run of the flow', () => lines.length > Math.max(1, length) || loop.exitCode !== null)
    }
    await nextRun()
    await user.run(commandsOfGuide('switchover'))
    await nextRun()
    const [key = '', ...runs] = lines
    const tally = one.client.since(from)
    t.diagnostic(JSON.stringify({ runs, tally }))
    assert.match(key, /^sk-/)
    assert.deepEqual([loop.exitCode, forward.exitCode], [null, null])
    assert.ok(runs.length > 1 && runs.every((line) => line.startsWith('200 ')))
    assert.deepEqual([one.lease.holder, one.lease.epoch], [identityOf(standby), epoch + 1])
    assert.ok(tally.longestSilenceMs < AWAY_MS)
    assert.equal(tally.failed, 0)
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

scenario(
  'a backup brings back credentials and files as its guide says, after the database, the files and the Secret were lost',
  async (one, t) => {
    await one.settled(2, 120_000)
    // It answers nothing while LangFlow is stopped.
    await one.client.stop()
    using user = await UserShell.open(one)
    const key = (await user.run(MAKE_KEY.replace('http://localhost:7860', one.url))).trim()
    const langflow = new LangflowUser(one.url, { 'x-api-key': key })
    const make = (name: string) =>
      langflow.make('/api/v1/variables/', { name, value: name, type: 'Credential', default_fields: [] })
    const play = (text: string) => {
      const commands = commandsOf('docs/guide/backup.md', text)
        .replace('docker.io/library/postgres:17', POSTGRES_IMAGE)
        .replace('name: langflow-database', 'name: langflow-postgresql')
        .replace('persistentVolumeClaim: { claimName: langflow-files }', 'emptyDir: {}')
      return user.run(`cd ${user.directory}\n${commands}`)
    }
    const inTools = (command: string) => one.kubectl('exec', 'langflow-backup', '--', 'sh', '-c', command)

    await make('before')
    // It admits LangFlow's pods only.
    await one.kubectl('delete', 'networkpolicy', 'langflow-postgresql')
    await play('kubectl apply')
    await inTools('echo kept > /app/data/file')
    await play('pg_dump')
    await make('after')
    await play('--replicas=0')
    await inTools('rm /app/data/file; touch /app/data/later')
    await one.kubectl('delete', 'secret', 'langflow')
    await play('create secret')
    await play('DROP SCHEMA')
    assert.equal(await inTools('cd /app/data; cat *'), 'kept\n')
    t.diagnostic(await play('check-integrity'))
    const variables = await langflow.list('/api/v1/variables/')
    assert.deepEqual(
      variables.map(({ name }) => name).filter((name) => /before|after/.test(name)),
      ['before'],
    )
  },
)

/** Values for a node of two cores, which pulls no images. */
const ON_NODE: Values = {
  image: { pullPolicy: 'Never' },
  langflow: { image: { pullPolicy: 'Never' }, resources: { requests: { cpu: '10m', memory: '32Mi' } } },
  agent: { resources: { requests: { cpu: '10m', memory: '32Mi' }, limits: { memory: '512Mi' } } },
  database: { trialImage: POSTGRES_IMAGE },
}

/** Runs the commands of README in the installation's namespace. */
async function quickStart(one: Installation): Promise<void> {
  using user = await UserShell.open(one)
  const values = join(user.directory, 'values.json')
  writeFileSync(values, JSON.stringify(ON_NODE))
  await user.run(commands(values))
}

/** The commands of README that install the chart, with more values. */
function commands(values: string): string {
  const block = commandsOfReadme('helm install')
  const chart = 'helm install langflow deploy/chart'
  assert.ok(block.includes(chart))
  return block.replace(chart, `${chart} --values=${values}`)
}

// usage: node test/bench/tenants.ts [--leases N] [--seconds S]
// Prints the cost of many LangFlows in one cluster: processor time of a real etcd and kube-apiserver while N Leases (default: 100)
// are renewed every 2 s and watched by two replicas each, and the memory of one tenant. With LANGFLOW_BIN, the tenant is a real
// LangFlow with a warm standby, else a stand-in. `--seconds 0` measures only the memory.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Agent, request } from 'undici'
import { readProcesses } from '../../agent/processes/proc.ts'
import type { ControlPlane } from '../harness/control-plane.ts'
import { freePort } from '../harness/free-port.ts'
import { LangflowScene, langflowBinary } from '../harness/langflow.ts'
import type { Pod } from '../harness/pod.ts'
import { ApiServerScene, LEASE } from '../harness/scene.ts'
import { summarise } from './percentiles.ts'
import { say, Testbed } from './testbed.ts'
import { cpuSeconds, residentMb } from './usage.ts'

const RENEW_MS = 2_000
const WINDOW_MS = 5_000
const SETTLE_MS = 10_000
const WATCHES = 2
const SAMPLES = 20
const STARTS_WITHIN_MS = 200_000
const SAMPLE_MS = 1_000

const { values } = parseArgs({ options: { leases: { type: 'string' }, seconds: { type: 'string' } } })
const leases = Number(values.leases ?? 100)
const windows = Math.ceil((Number(values.seconds ?? 100) * 1000) / WINDOW_MS)

interface LeaseObject {
  readonly metadata: { readonly name: string; readonly annotations?: object; readonly labels?: object }
  readonly spec: Record<string, unknown>
}

/** Samples by what was measured. */
class Samples {
  readonly #all = new Map<string, number[]>()

  add(what: string, value: number): void {
    this.#all.set(what, [...(this.#all.get(what) ?? []), value])
  }

  /** Prints one row for each. */
  print(unit: string, digits: number): void {
    for (const [what, sample] of this.#all) row(what, unit, sample, digits)
  }
}

/** A Lease, with the requests that its leader and followers send. Each tenant has its own connections. */
class Tenant {
  readonly latencies: number[] = []
  readonly #url: string
  readonly #dispatcher: Agent
  readonly #headers: Readonly<Record<string, string>>
  #lease: LeaseObject
  #timer: NodeJS.Timeout | undefined

  /** `like`: a Lease that real replicas wrote. `token`: that of a ServiceAccount. */
  constructor(plane: ControlPlane, namespace: string, token: string, n: number, like: LeaseObject) {
    this.#url = `${plane.serverUrl}/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`
    this.#dispatcher = new Agent({ connect: { ca: readFileSync(plane.caFile) }, bodyTimeout: 0 })
    this.#headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const { annotations = {}, labels = {} } = like.metadata
    this.#lease = { ...like, metadata: { name: `tenant-${n}`, annotations, labels } }
  }

  async start(): Promise<void> {
    this.#lease = await this.#write('POST', this.#url)
    const selector = `watch=true&fieldSelector=metadata.name%3D${this.#lease.metadata.name}&timeoutSeconds=3600`
    for (let n = 0; n < WATCHES; n++) {
      const { body } = await request(`${this.#url}?${selector}`, {
        dispatcher: this.#dispatcher,
        headers: this.#headers,
      })
      body.on('error', () => {}).resume()
    }
  }

  renewEach(everyMs: number): void {
    this.#timer = setInterval(() => void this.#renew(), everyMs)
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#dispatcher.destroy()
  }

  async #renew(): Promise<void> {
    const from = performance.now()
    this.#lease.spec.renewTime = `${new Date().toISOString().slice(0, -1)}000Z`
    this.#lease = await this.#write('PUT', `${this.#url}/${this.#lease.metadata.name}`)
    this.latencies.push(performance.now() - from)
  }

  async #write(method: 'POST' | 'PUT', url: string): Promise<LeaseObject> {
    const { statusCode, body } = await request(url, {
      method,
      dispatcher: this.#dispatcher,
      headers: this.#headers,
      body: JSON.stringify(this.#lease),
    })
    const text = await body.text()
    if (statusCode >= 300) throw new Error(`${method} ${url}: ${statusCode} ${text}`)
    return JSON.parse(text)
  }
}

/** The pids of etcd and kube-apiserver, which this process started. */
function serverPids(): Readonly<Record<string, number>> {
  const all = [...readProcesses().values()].filter(({ ppid }) => ppid === process.pid)
  const named = all.map(({ pid }) => [readFileSync(`/proc/${pid}/comm`, 'utf8').trim(), pid] as const)
  return Object.fromEntries(named.filter(([name]) => ['etcd', 'kube-apiserver'].includes(name)))
}

/** Processor time of each server as a share of one core, by window. */
async function measureCores(pids: Readonly<Record<string, number>>, when: string): Promise<void> {
  const samples = new Samples()
  for (let window = 0; window < windows; window++) {
    const from = performance.now()
    const before = Object.values(pids).map(cpuSeconds)
    await sleep(WINDOW_MS)
    const seconds = (performance.now() - from) / 1000
    const used = Object.values(pids).map((pid, n) => (cpuSeconds(pid) - (before[n] as number)) / seconds)
    for (const [n, name] of Object.keys(pids).entries()) samples.add(`${name}, ${when}`, used[n] as number)
    samples.add(
      `both, ${when}`,
      used.reduce((sum, one) => sum + one, 0),
    )
  }
  samples.print('cores', 3)
}

function row(what: string, unit: string, sample: readonly number[], digits = 2): void {
  const { n, median, p95, max } = summarise(sample)
  const [a, b, c] = [median, p95, max].map((value) => value.toFixed(digits))
  process.stdout.write(`| ${what} | ${unit} | ${n} | ${a} | ${b} | ${c} |\n`)
}

/** Memory (PSS) of LangFlow's processes, or of its standby's, in MB. */
function langflowMb(pod: Pod): number {
  const kib = (pod.tree()?.workload ?? []).map(({ pid }) => {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1')
    return Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1])
  })
  return (kib.reduce((sum, one) => sum + one, 0) * 1024) / 1e6
}

/** Memory of two replicas with fronts. Returns their Lease. */
async function tenant(testbed: Testbed): Promise<LeaseObject> {
  let lease: LeaseObject | undefined
  const real = langflowBinary() !== undefined
  const Scene: typeof ApiServerScene = real ? LangflowScene : ApiServerScene
  await testbed.onScene(Scene.open(testbed.plane), async (scene) => {
    const replica = async (identity: string) => {
      const env = {
        LEADER_TRAFFIC: 'front',
        LEADER_FRONT_LISTEN: `127.0.0.1:${await freePort()}`,
        POD_NAME: identity,
        POD_UID: identity,
        POD_IP: '127.0.0.1',
      }
      const flags = real ? ['--standby=warm'] : []
      return scene.pod(identity, { ...testbed.direct(scene, identity), flags, env })
    }
    const leader = await replica('leader')
    await leader.agent.event('serving', 0, STARTS_WITHIN_MS)
    const follower = await replica('follower')
    await follower.agent.event('standby_ready', 0, STARTS_WITHIN_MS)
    await sleep(SETTLE_MS)
    const samples = new Samples()
    for (let n = 0; n < SAMPLES; n++) {
      for (const [role, pod] of Object.entries({ leader, follower })) {
        const front = [...readProcesses().values()].find(({ ppid }) => ppid === pod.agent.pid)
        samples.add(`agent, ${role}`, residentMb(pod.agent.pid))
        samples.add(`front, ${role}`, residentMb(front?.pid ?? 0))
        samples.add(`launcher, ${role}`, residentMb(pod.launcherPid()))
        if (real) samples.add(`LangFlow, ${role}`, langflowMb(pod))
      }
      await sleep(SAMPLE_MS)
    }
    samples.print('MB', 0)
    const { stdout } = await scene.kubectl('get', 'lease', LEASE, '-o', 'json')
    lease = JSON.parse(stdout)
  })
  return lease as LeaseObject
}

/** A namespace with a ServiceAccount that may use all its Leases. */
async function newAccount(plane: ControlPlane) {
  const namespace = await plane.newNamespace()
  const create = (...args: string[]) => plane.kubectl(['create', `--namespace=${namespace}`, ...args])
  await create('serviceaccount', 'tenants')
  await create('role', 'tenants', '--verb=get,watch,create,update', '--resource=leases')
  await create('rolebinding', 'tenants', '--role=tenants', `--serviceaccount=${namespace}:tenants`)
  return { namespace, token: await plane.serviceAccountToken(namespace, 'tenants', '1h') }
}

async function controlPlane(plane: ControlPlane, like: LeaseObject): Promise<void> {
  const pids = serverPids()
  say('control plane without Leases')
  await sleep(SETTLE_MS)
  await measureCores(pids, 'no Leases')
  const { namespace, token } = await newAccount(plane)
  const tenants = Array.from({ length: leases }, (_, n) => new Tenant(plane, namespace, token, n, like))
  try {
    for (const one of tenants) {
      await one.start()
      // The renewals of different tenants are spread over the interval.
      one.renewEach(RENEW_MS)
      await sleep(RENEW_MS / leases)
    }
    say(`control plane with ${leases} Leases`)
    await sleep(SETTLE_MS)
    for (const one of tenants) one.latencies.length = 0
    await measureCores(pids, `${leases} Leases`)
    row(
      'renewal',
      'ms',
      tenants.flatMap(({ latencies }) => latencies),
      1,
    )
    process.stderr.write(`a Lease has ${JSON.stringify(like).length} bytes\n`)
  } finally {
    for (const one of tenants) await one.stop()
  }
}

const { BUNDLE } = await import('../harness/bundle.ts')
const testbed = await Testbed.open(BUNDLE)
try {
  process.stdout.write('| what | unit | n | median | p95 | max |\n|---|---|---|---|---|---|\n')
  const lease = await tenant(testbed)
  if (windows > 0) await controlPlane(testbed.plane, lease)
} finally {
  await testbed.close()
}

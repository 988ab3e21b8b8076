import { Counter, Gauge, type Registry } from 'prom-client'
import type { AgentStatus } from './status.ts'

const STANDBY_STATES = ['ready', 'preparing', 'none'] as const

/**
 * What is not counted as it happens but read when someone asks, which is what the returned function does.
 * CPU and memory are the only ones of the process: more would cost more than they tell.
 */
export function scrapedMetrics(registers: Registry[], prefix: string): (status: AgentStatus) => void {
  const gauge = (name: string, help: string) => new Gauge({ name, help, registers })
  const counter = (name: string, help: string) => new Counter({ name, help, registers })

  const killIn = gauge(
    `${prefix}kill_deadline_seconds`,
    'Seconds until the deadman stops the workload; absent where this replica does not lead.',
  )
  const doubt = gauge(`${prefix}doubt`, 'Whether leadership is in doubt: 1 if so, and nothing executes.')
  const epoch = gauge(`${prefix}lease_epoch`, 'The epoch (leaseTransitions) that this replica last saw.')
  const watchUp = gauge(`${prefix}watch_up`, 'Whether the watch on the Lease is open: 1 if so.')
  const gate = gauge(`${prefix}gate_open`, 'Whether this replica takes traffic: 1 if so.')
  const healthy = gauge(
    `${prefix}workload_healthy`,
    'Whether the workload answers its health requests: 1 if so.',
  )
  const outdated = gauge(
    `${prefix}langflow_outdated`,
    'Whether LangFlow here is older than one that has led, so that it does not take over: 1 if so.',
  )
  const problem = gauge(
    `${prefix}problem`,
    'Whether something keeps this replica from working: 1 if so, see /status.',
  )
  const freezes = counter(
    `${prefix}freezes_total`,
    'How often the workload was frozen, since its launcher started.',
  )
  const firings = counter(
    `${prefix}deadman_firings_total`,
    'How often the launcher acted on its own because no grant came, since it started.',
  )
  const standby = new Gauge({
    name: `${prefix}standby_state`,
    help: 'What the standby is: 1 for the state it is in, 0 for the others.',
    labelNames: ['mode', 'state'],
    registers,
  })
  const standbyMemory = gauge(
    `${prefix}standby_memory_bytes`,
    'Memory (PSS) that the standby held when it became ready; absent where there is none.',
  )
  const peersReady = gauge(
    `${prefix}peers_ready`,
    'Other replicas that would take over now; absent where this one does not lead, or does not ask.',
  )
  const memory = gauge('process_resident_memory_bytes', 'Resident memory size in bytes.')
  const cpu = counter('process_cpu_seconds_total', 'User and system CPU time spent, in seconds.')
  gauge('process_start_time_seconds', 'When the process started, in seconds since the Unix epoch.').set(
    Math.round(performance.timeOrigin) / 1000,
  )

  return (status) => {
    const { killInMs } = status.leadership
    if (killInMs === null) killIn.remove()
    else killIn.set(Math.max(0, killInMs) / 1000)
    doubt.set(status.leadership.doubt ? 1 : 0)
    epoch.set(status.lease.epoch)
    watchUp.set(status.lease.watch === 'up' ? 1 : 0)
    gate.set(status.traffic.gate === 'open' ? 1 : 0)
    healthy.set(status.workload.healthy ? 1 : 0)
    outdated.set(status.langflow.outdated ? 1 : 0)
    problem.set(status.problem === null ? 0 : 1)
    countTo(freezes, status.workload.freezes)
    countTo(firings, status.workload.deadmanFirings)
    standby.reset()
    for (const state of STANDBY_STATES) {
      standby.set({ mode: status.standby.mode, state }, status.standby.state === state ? 1 : 0)
    }
    if (status.standby.memoryBytes === null) standbyMemory.remove()
    else standbyMemory.set(status.standby.memoryBytes)
    if (status.peers === null) peersReady.remove()
    else peersReady.set(status.peers.ready)
    memory.set(process.memoryUsage.rss())
    const { user, system } = process.cpuUsage()
    countTo(cpu, (user + system) / 1e6)
  }
}

/** Somebody else counts; a total that falls is a restart, which is what Prometheus takes it for. */
function countTo(counter: Counter, total: number): void {
  counter.reset()
  counter.inc(total)
}

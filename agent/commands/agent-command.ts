import { randomBytes } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { type Clock, systemClock } from '../clock.ts'
import { IN_PODS } from '../config/command-line.ts'
import { type AgentOptions, agentOptions } from '../config/options.ts'
import { LauncherKeys } from '../link/launcher-keys.ts'
import { lookAtLock } from '../link/launcher-lock.ts'
import { createLog } from '../observe/log.ts'
import { isPortFree, openConnections } from '../processes/port.ts'
import { bootId } from '../processes/proc.ts'
import type { Replica } from '../replica/replica.ts'
import { VERSION } from '../version.ts'

export function addAgent(program: Command): void {
  const command = program
    .command('agent')
    .helpGroup(IN_PODS)
    .description('run the sidecar that takes part in the election and controls LangFlow through the launcher')
  const read = agentOptions(command)
  command.action(async () => {
    const options = read()
    process.exitCode = await runAgent(options, newKeys(options))
  })
}

export function newKeys({ stateDir, socket, leaseDurationMs, identity, pod }: AgentOptions): LauncherKeys {
  const look = identity === `${pod.name}_${pod.uid}` ? () => lookAtLock(socket) : null
  return new LauncherKeys(stateDir, systemClock, leaseDurationMs, look)
}

/** Runs a replica's agent until it is asked to end. `reclaim`: see `SupervisorMachine`. Resolves to the exit code. */
export async function runAgent(
  options: AgentOptions,
  keys: LauncherKeys,
  own: { reclaim?: () => Promise<void>; started?: () => void } = {},
): Promise<number> {
  const log = createLog({ component: 'agent', level: options.logLevel, identity: options.identity })
  // A signal requests the planned end, from the first moment on. Before the start is complete, the request waits.
  const started = Promise.withResolvers<Replica>()
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
    process.on(signal, () => void started.promise.then((replica) => replica.terminate(signal)))
  const { port } = options.target
  // Loaded here, so that a launcher, which runs from the same file, does not pay for their memory.
  const { connectLeaseApi } = await import('../lease/lease-api.ts')
  const { startHttpServer } = await import('../observe/http-server.ts')
  const { createMetrics } = await import('../observe/prometheus.ts')
  const { LostPods } = await import('../peers/lost-pods.ts')
  const { consentSender } = await import('../peers/peer-requests.ts')
  const { Peers } = await import('../peers/peers.ts')
  const { KubeEvents } = await import('../replica/kube-events.ts')
  const { Replica } = await import('../replica/replica.ts')
  const { LinkServer } = await import('../link/link-server.ts')
  const { HealthProbe } = await import('../supervisor/health-probe.ts')
  const { Supervisor } = await import('../supervisor/supervisor.ts')
  const { ownFront } = await import('../front/agent-side/front-process.ts')
  const metrics = createMetrics({ leaseName: options.leaseName, status: () => replica.status() })
  const clock = systemClock
  const connection = await connectLeaseApi({
    name: options.leaseName,
    ...(options.leaseNamespace === null ? {} : { namespace: options.leaseNamespace }),
    ...(options.kubeconfig === null ? {} : { kubeconfig: options.kubeconfig }),
    clock,
    userAgent: `langflow-leader/${VERSION} (${options.identity})`,
    onRequest: (verb, code) => metrics.apiRequest(verb, code),
  })
  log.info('using this API server for the Lease', { server: connection.server, source: connection.source })
  const { api, podObjects, namespace } = connection
  const machine = {
    clock,
    portFree: async () => isPortFree(port),
    connections: () => openConnections(port),
    ...(own.reclaim === undefined ? {} : { reclaim: own.reclaim }),
  }
  const { peers: at, identity, leaseDurationMs } = options
  const front = ownFront(options, clock)
  const replica: Replica = new Replica({
    options,
    namespace,
    api,
    front,
    supervisor: ({ alarm, ...wiring }) =>
      new Supervisor({
        ...options,
        ...wiring,
        machine,
        link: (handlers) => new LinkServer({ options, keys, clock, handlers, alarm }),
        probe: (handlers) => new HealthProbe(options, clock, handlers),
      }),
    peers: at === null ? null : (wiring) => new Peers({ at, clock, ...wiring }),
    failsafe:
      options.failsafe === 'none'
        ? null
        : { key: randomBytes(24).toString('base64url'), send: consentSender(clock) },
    lostPods: options.reportLostPods
      ? (wiring) => new LostPods({ identity, leaseDurationMs, front, api: podObjects(), clock, ...wiring })
      : null,
    events: (wiring) => new KubeEvents({ options, api: podObjects(), clock, ...wiring }),
    podAgeMs: podAge(options.stateDir, clock),
    http: (source) => startHttpServer(options.listen, source, metrics),
    clock,
    log,
    metrics,
    salt: Math.floor(Math.random() * 1000),
  })
  await replica.start()
  own.started?.()
  started.resolve(replica)
  return replica.end()
}

/**
 * Milliseconds since the first agent that used `directory` started: the pod's age. After a restart of the machine by the
 * wall clock, so only the order of pods may depend on it. `null`: unknown.
 */
export function podAge(directory: string, clock: Clock): () => number | null {
  const file = join(directory, 'born')
  try {
    writeFileSync(file, JSON.stringify({ bootId: bootId(), mono: clock.mono() }), { flag: 'wx', mode: 0o600 })
  } catch {
    // The file exists already, or cannot be written. Reading it shows which.
  }
  try {
    const born = JSON.parse(readFileSync(file, 'utf8')) as { bootId: string; mono: number }
    const wall = statSync(file).mtimeMs
    const sameBoot = born.bootId === bootId() && Number.isFinite(born.mono)
    return () => Math.max(1, Math.round(sameBoot ? clock.mono() - born.mono : clock.now().wall - wall))
  } catch {
    return () => null
  }
}

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { type FrontRoute, NO_COUNTS } from '../../agent/front/front-messages.ts'
import { holderOf } from '../../agent/lease/lease.ts'
import type { LeaseApi } from '../../agent/lease/lease-api.ts'
import { encodeHistory, HISTORY } from '../../agent/lease/lease-history.ts'
import {
  NOTHING,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadState,
} from '../../agent/link/link-messages.ts'
import type { LinkHandlers } from '../../agent/link/link-server.ts'
import { createLog } from '../../agent/observe/log.ts'
import { createMetrics } from '../../agent/observe/prometheus.ts'
import { Replica, type ReplicaParts, remedyFor } from '../../agent/replica/replica.ts'
import type { HealthHandlers } from '../../agent/supervisor/health-probe.ts'
import { Supervisor } from '../../agent/supervisor/supervisor.ts'
import { parse } from '../config/commands.ts'
import { heldBy, released } from '../election/candidate.ts'
import { settled } from '../harness/virtual-clock.ts'
import { until } from '../harness/wait.ts'
import { TERM } from '../observe/replica.ts'

const LEASE_MS = 15_000
const hands = { onCrash: 'handover', leaseDurationMs: LEASE_MS } as const
const restarts = { onCrash: 'restart', leaseDurationMs: LEASE_MS } as const

describe('a LangFlow that failed', () => {
  for (const [what, options, servedMs, ready, remedy] of [
    ['is handed over if another may be ready', hands, LEASE_MS, [1, 3, null], 'handover'],
    ['is restarted in place if no other replica is ready', hands, LEASE_MS, [0], 'restart'],
    ['is always restarted in place with --on-crash=restart', restarts, LEASE_MS, [0, 1, null], 'restart'],
    ['is handed over if it never served, so that a crash loop backs off', restarts, null, [0], 'handover'],
    ['is handed over if it served too shortly', restarts, LEASE_MS - 1, [0], 'handover'],
    ['is handed over then without --on-crash=restart as well', hands, LEASE_MS - 1, [0], 'handover'],
  ] as const)
    test(what, () => {
      for (const others of ready) assert.equal(remedyFor(options, servedMs, others), remedy)
    })
})

/** A Lease that another replica holds permanently. */
const TAKEN: LeaseApi = {
  read: async () => heldBy('other', 1),
  update: () => assert.fail('a follower must not update the Lease'),
  rehearse: async () => {},
  create: () => assert.fail('the Lease already exists'),
  watch: async () => ({ close: () => {} }),
  close: () => {},
}

/** An agent with a connected launcher that accepts every message. */
async function agentOn(
  api: LeaseApi,
  front: ReplicaParts['front'],
  sent: ToLauncher[],
  probes: HealthHandlers[] = [],
  links: LinkHandlers[] = [],
): Promise<Replica> {
  const { agent: options } = await parse(['agent', '--identity=me'])
  assert.ok(options)
  const replica: Replica = new Replica({
    options,
    namespace: 'team',
    api,
    supervisor: (wiring) =>
      new Supervisor({
        ...options,
        ...wiring,
        machine: { clock: systemClock, portFree: async () => true, connections: () => 0 },
        link: (handlers) => {
          links.push(handlers)
          return {
            connected: true,
            listen: async () => {},
            send: (one) => sent.push(one),
            close: () => {},
          }
        },
        probe: (handlers) => {
          probes.push(handlers)
          return { last: null, start: () => {}, stop: () => {} }
        },
      }),
    front,
    peers: null,
    failsafe: null,
    lostPods: null,
    events: () => ({ record: () => {}, end: async () => {} }),
    podAgeMs: () => null,
    http: async () => ({ port: 0, close: async () => {} }),
    clock: systemClock,
    log: createLog({ component: 'agent', level: 'silent', identity: 'me' }),
    metrics: createMetrics({ leaseName: options.leaseName, status: () => replica.status() }),
    salt: 0,
  })
  await replica.start()
  return replica
}

test('a follower orders its launcher to prepare once the Lease records that the leader serves', async () => {
  for (const [healthyMs, orders] of [
    [290, 1],
    [null, 0],
  ] as const) {
    const lease = heldBy('other', 1, { leaseTransitions: TERM.epoch })
    const history = encodeHistory([{ ...TERM, phases: { ...TERM.phases, healthyMs } }])
    const metadata = { ...lease.metadata, annotations: { [HISTORY]: history } }
    const sent: ToLauncher[] = []
    const api = { ...TAKEN, read: async () => ({ ...lease, metadata }) }
    const replica = await agentOn(api, null, sent)
    await settled()
    replica.terminate('SIGTERM')
    await replica.end()
    assert.equal(sent.filter(({ type }) => type === 'prepare').length, orders)
  }
})

test('a start that the launcher gave up by its own clock is ordered again, and the Lease is not released', async () => {
  const [sent, links, holders]: [ToLauncher[], LinkHandlers[], string[]] = [[], [], []]
  const api: LeaseApi = {
    ...TAKEN,
    read: async () => released(1),
    update: async (lease) => {
      const resourceVersion = String(1 + holders.push(holderOf(lease)))
      return { ...lease, metadata: { ...lease.metadata, resourceVersion } }
    },
  }
  const replica = await agentOn(api, null, sent, [], links)
  const [launcher] = links
  assert.ok(launcher)
  const view = { ...NOTHING, epoch: 4, identity: 'me' }
  const report = (cause: WorkloadCause, state: WorkloadState) =>
    launcher.received({ type: 'workload', view: { ...view, state }, cause })
  const hello = { type: 'hello', version: 1, pid: 1, alone: true, mono: 0, view: NOTHING } as const
  launcher.connected(hello, false, null)
  report({ kind: 'met' }, 'idle')
  const starts = () => sent.filter(({ type }) => type === 'start').length
  await until('the order to start', () => starts() === 1)
  report({ kind: 'frozen' }, 'frozen')
  report({ kind: 'stopping' }, 'stopping')
  report({ kind: 'killed', durationMs: 5 }, 'idle')
  await settled()
  assert.deepEqual([starts(), new Set(holders)], [2, new Set(['me'])])
  report({ kind: 'started' }, 'running')
  report({ kind: 'killed', durationMs: 5 }, 'idle')
  replica.terminate('SIGTERM')
  await replica.end()
})

test('an agent counts answers to its front as work of LangFlow, and exits only once no traffic is routed to it', async () => {
  const probes: HealthHandlers[] = []
  const acknowledged = Promise.withResolvers<void>()
  const routes: FrontRoute[] = []
  let closed = false
  const process = {
    listening: true,
    problem: null,
    counts: { ...NO_COUNTS, answeredAt: Number.MAX_VALUE },
    quiet: false,
    follow: (route: FrontRoute) => {
      routes.push(route)
      return acknowledged.promise
    },
    end: async () => {
      closed = true
    },
  }
  const access = { address: '10.0.0.1:8091', key: 'own-key' }
  const replica = await agentOn(
    TAKEN,
    { access, holdTimeoutMs: 0, probe: async () => null, process: () => process },
    [],
    probes,
  )
  probes[0]?.silence(true)
  probes[0]?.unhealthy('no answer', true)
  assert.notEqual(replica.status().workload.busy, null)
  let code: number | null = null
  const end = replica.end().then((its) => {
    code = its
  })
  replica.terminate('SIGTERM')
  await settled()
  assert.equal(routes.at(-1)?.to, 'nobody')
  assert.deepEqual([code, closed], [null, false])
  acknowledged.resolve()
  await end
  assert.deepEqual([code, closed], [0, true])
})

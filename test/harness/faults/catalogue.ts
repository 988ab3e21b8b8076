import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { isSame, type ProcessStat, readStat } from '../../../agent/processes/proc.ts'
import { ACCOUNT } from '../control-plane.ts'
import type { Pod } from '../pod.ts'
import { ask } from '../replica.ts'
import { type ApiServerScene, LEASE } from '../scene.ts'
import { refuseWrites } from './refusals.ts'
import type { TcpProxy } from './tcp-proxy.ts'

export type Heal = () => unknown

export interface Target {
  readonly scene: ApiServerScene
  readonly pod: Pod
  readonly link: TcpProxy
  /** Severity in [0, 1), for faults that have degrees. */
  readonly degree: number
}

/** Begins a fault, and returns the function that ends it. Throws `Missed` if the fault has no target at the moment. */
export type Fault = (target: Target) => Promise<Heal> | Heal

export class Missed extends Error {}

const sudden =
  (act: (target: Target) => unknown): Fault =>
  async (target) => {
    await act(target)
    return () => {}
  }

const onLink =
  (act: (link: TcpProxy, degree: number) => unknown): Fault =>
  async ({ link, degree }) => {
    await act(link, degree)
    return () => link.heal()
  }

const FLAP_MS = 400

const LINK = {
  'link is a black hole': onLink((link) => link.partition()),
  'requests are held back': onLink((link) => link.flow({ toServer: 'hold' })),
  'replies are held back': onLink((link) => link.flow({ toClient: 'hold' })),
  'replies are lost after the commit': ({ link }) => {
    link.flow({ toClient: 'hold' })
    return () => {
      link.reset()
      link.flow({ toClient: 'pass' })
    }
  },
  'link is slow': onLink((link, degree) => {
    const delayMs = Math.round(50 + degree ** 2 * 4_000)
    link.flow({ toServer: { delayMs }, toClient: { delayMs } })
  }),
  'connections are refused': onLink((link) => link.refuse()),
  'connections are reset': sudden(({ link }) => link.reset()),
  'connections flap': ({ link }) => {
    const timer = setInterval(() => link.reset(), FLAP_MS)
    return () => clearInterval(timer)
  },
  'watch is truncated': sudden(({ link }) => link.truncate()),
  // The connections to this server, and the next new one, carry nothing more, not even an end.
  'API server loses its power': sudden(({ link }) => link.strand(1)),
} as const satisfies Record<string, Fault>

const CODES = [429, 500, 503, 504]

const API_SERVER = {
  'API server hangs': ({ scene: { plane } }) => {
    plane.pause()
    return () => plane.resume()
  },
  'API server is killed': async ({ scene: { plane } }) => {
    await plane.stopApiServer('SIGKILL')
    return () => plane.startApiServer()
  },
  'API server restarts with a compacted history': async ({ scene: { plane } }) => {
    await plane.stopApiServer('SIGTERM')
    await plane.compact()
    return () => plane.startApiServer()
  },
  'etcd is killed': async ({ scene: { plane } }) => {
    await plane.stopEtcd()
    return () => plane.startEtcd()
  },
  'permission for the Lease is revoked': async ({ scene }) => {
    const { stdout } = await scene.kubectl('get', 'rolebinding', ACCOUNT, '--output=json')
    const { kind, apiVersion, metadata, roleRef, subjects } = JSON.parse(stdout)
    const heal = () => scene.apply({ kind, apiVersion, metadata: { name: metadata.name }, roleRef, subjects })
    await scene.kubectl('delete', 'rolebinding', ACCOUNT)
    return heal
  },
  'writes of the Lease are rejected': ({ scene, degree }) =>
    refuseWrites(scene, CODES[Math.floor(degree * CODES.length)] as number),
} as const satisfies Record<string, Fault>

interface Spec {
  readonly holderIdentity?: string
  readonly leaseTransitions?: number
}

const edit = (change: (spec: Spec) => Spec): Fault =>
  sudden(async ({ scene }) => {
    const { stdout } = await scene.kubectl('get', 'lease', LEASE, '--output=json')
    const { spec = {} } = JSON.parse(stdout) as { spec?: Spec }
    await scene.patch(change(spec))
  })

let edits = 0

/** Edits of the Lease by people that the product must tolerate. */
const LEASE_EDITS = {
  'Lease is given to a stranger': edit(() => ({ holderIdentity: `stranger-${++edits}` })),
  'Lease is cleared': edit(() => ({ holderIdentity: '' })),
  'epoch is raised': edit(({ leaseTransitions = 0 }) => ({ leaseTransitions: leaseTransitions + 1 })),
  'Lease is annotated': sudden(({ scene }) =>
    scene.kubectl('annotate', 'lease', LEASE, '--overwrite', `note=${++edits}`),
  ),
} as const satisfies Record<string, Fault>

function treeOf(pod: Pod) {
  const tree = pod.tree()
  if (tree === undefined) throw new Missed('the container of its target does not run')
  return tree
}

function present<T>(what: T | undefined): T {
  if (what === undefined) throw new Missed('its target has no workload')
  return what
}

/** Signals the process of `stat`, but not another process that has reused its pid. */
export function signalSame(stat: ProcessStat, signal: NodeJS.Signals): void {
  if (isSame(stat, readStat(stat.pid))) process.kill(stat.pid, signal)
}

const toAgent = (signal: NodeJS.Signals) => sudden(({ pod }) => pod.agent.signal(signal))
const toLauncher = (signal: NodeJS.Signals) => sudden(({ pod }) => signalSame(treeOf(pod).launcher, signal))

const AGENT = {
  'agent is killed': toAgent('SIGKILL'),
  'agent is terminated': toAgent('SIGTERM'),
  'agent is frozen': ({ pod: { agent } }) => {
    agent.signal('SIGSTOP')
    return () => agent.signal('SIGCONT')
  },
  // Requires BLOCKABLE among the flags of the agent's node.
  'agent’s event loop is blocked': toAgent('SIGUSR2'),
  'log collector hangs': ({ pod: { agent } }) => {
    agent.stopReading()
    return () => agent.process.stdout?.resume()
  },
  'agent socket is removed': sudden(({ pod }) =>
    rmSync(join(pod.directory, 'run', 'launcher.sock'), { force: true }),
  ),
} as const satisfies Record<string, Fault>

/** A flag for a node whose event loop SIGUSR2 blocks for 20 s. */
export const BLOCKABLE = `--import=${join(import.meta.dirname, 'block-event-loop.mjs')}`
export const BLOCKED_MS = 20_000

const CONTAINER = {
  'container is killed': toLauncher('SIGKILL'),
  'container is terminated': toLauncher('SIGTERM'),
  'tini is killed': sudden(({ pod }) => signalSame(present(treeOf(pod).tini), 'SIGKILL')),
  'workload is killed': sudden(({ pod }) => signalSame(present(treeOf(pod).workload[0]), 'SIGKILL')),
  'workload is frozen': ({ pod }) => {
    const stopped = treeOf(pod).workload.filter(({ state }) => state !== 'T')
    present(stopped[0])
    for (const one of stopped) signalSame(one, 'SIGSTOP')
    return () => {
      // If the launcher has frozen the workload during the fault, only the launcher may thaw it.
      const last = pod.container.events().findLast((event) => event.startsWith('workload_'))
      if (last !== 'workload_frozen') for (const one of stopped) signalSame(one, 'SIGCONT')
    }
  },
  'workload becomes unhealthy': sudden(async ({ pod }) =>
    present(await ask(pod.port, '/sicken', 1_000).catch(() => undefined)),
  ),
} as const satisfies Record<string, Fault>

export const FAULTS = { link: LINK, api: API_SERVER, lease: LEASE_EDITS, agent: AGENT, container: CONTAINER }

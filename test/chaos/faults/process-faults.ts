import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { ask } from '../../harness/replica.ts'
import { exitOf, resume, signalSame, treeOf } from '../container.ts'
import { type Kind, Missed } from './fault.ts'

const BLOCKED_MS = 20_000

const toAgent =
  (signal: NodeJS.Signals): Kind['inject'] =>
  async (_scene, { pod }) =>
    pod.agent.signal(signal)
const toLauncher =
  (signal: NodeJS.Signals): Kind['inject'] =>
  async (_scene, { pod }) =>
    signalSame(treeOf(pod).launcher, signal)

/** The processes of one pod, and what a kubelet does to them. */
export const PROCESS_FAULTS = {
  'agent is killed': {
    hits: 'agent',
    inject: toAgent('SIGKILL'),
  },
  'agent is killed and stays away': {
    hits: 'agent',
    ms: [5_000, 25_000],
    inject: async (_scene, { pod, kubelet }, { ms }) => {
      kubelet.hold('agent', ms)
      pod.agent.signal('SIGKILL')
      return () => {}
    },
  },
  'agent is told to end': {
    hits: 'agent',
    inject: toAgent('SIGTERM'),
  },
  'agent is frozen': {
    hits: 'agent',
    ms: [1_000, 30_000],
    inject: async (_scene, { pod: { agent } }) => {
      agent.signal('SIGSTOP')
      return () => agent.signal('SIGCONT')
    },
  },
  'agent’s event loop is blocked': {
    hits: 'agent',
    ms: [BLOCKED_MS, BLOCKED_MS],
    inject: async (_scene, { pod }) => {
      pod.agent.signal('SIGUSR2')
      return () => {}
    },
  },
  'log collector hangs': {
    hits: 'agent',
    ms: [5_000, 30_000],
    inject: async (_scene, { pod: { agent } }) => {
      agent.stopReading()
      return () => agent.process.stdout?.resume()
    },
  },
  'socket is removed': {
    hits: 'agent',
    inject: async (_scene, { pod }) => {
      rmSync(join(pod.directory, 'run', 'launcher.sock'), { force: true })
    },
  },
  'launcher is frozen': {
    hits: 'container',
    ms: [1_000, 30_000],
    inject: async ({ stillness }, { pod }) => {
      const { launcher } = treeOf(pod)
      const over = stillness.begin(pod.options.identity)
      void exitOf(pod.container).then(over)
      signalSame(launcher, 'SIGSTOP')
      return () => {
        signalSame(launcher, 'SIGCONT')
        over()
      }
    },
  },
  'container is killed': {
    hits: 'container',
    inject: toLauncher('SIGKILL'),
  },
  'container is told to end': {
    hits: 'container',
    inject: toLauncher('SIGTERM'),
  },
  'tini is killed': {
    hits: 'container',
    inject: async (_scene, { pod }) => {
      const { tini } = treeOf(pod)
      if (tini === undefined) throw new Missed('no workload there')
      signalSame(tini, 'SIGKILL')
    },
  },
  'workload is killed': {
    hits: 'container',
    inject: async (_scene, { pod }) => {
      const [first] = treeOf(pod).workload
      if (first === undefined) throw new Missed('no workload there')
      signalSame(first, 'SIGKILL')
    },
  },
  'workload is frozen': {
    hits: 'container',
    ms: [1_000, 15_000],
    inject: async (_scene, { pod }) => {
      const running = treeOf(pod).workload.filter(({ state }) => state !== 'T')
      if (running.length === 0) throw new Missed('no running workload there')
      for (const one of running) signalSame(one, 'SIGSTOP')
      const { container } = pod
      return () => {
        // What the launcher has frozen meanwhile is the launcher's to thaw.
        const last = container.events().findLast((event) => event.startsWith('workload_'))
        if (last !== 'workload_frozen') for (const one of running) signalSame(one, 'SIGCONT')
      }
    },
  },
  'workload falls ill': {
    hits: 'container',
    inject: async (_scene, { pod }) => {
      await ask(pod.port, '/sicken', 1_000).catch(() => {
        throw new Missed('no workload there')
      })
    },
  },
  'pod is suspended': {
    hits: 'pod',
    ms: [1_000, 30_000],
    inject: async ({ stillness }, { pod }) => {
      const { launcher, workload } = treeOf(pod)
      const running = workload.filter(({ state }) => state !== 'T')
      const { agent } = pod
      const over = stillness.begin(pod.options.identity)
      void exitOf(pod.container).then(over)
      agent.signal('SIGSTOP')
      for (const one of [launcher, ...running]) signalSame(one, 'SIGSTOP')
      return () => {
        // The workload first: the worst that can happen.
        for (const one of [...running, launcher]) signalSame(one, 'SIGCONT')
        resume(agent)
        over()
      }
    },
  },
  'pod is replaced': {
    hits: 'pod',
    ms: [0, 0],
    inject: async (_scene, slot) => {
      const replaced = slot.replace()
      return () => replaced
    },
  },
  'node is lost': {
    hits: 'pod',
    ms: [500, 20_000],
    inject: async (_scene, slot) => {
      await slot.kubelet.kill()
      return () => slot.fill()
    },
  },
} as const satisfies Record<string, Kind>

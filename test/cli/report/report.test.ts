import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { overviewOf } from '../../../agent/cli/overview.ts'
import { makeReport, type Reading } from '../../../agent/cli/report/report.ts'
import { ApiError } from '../../../agent/kube/kube-errors.ts'
import type { KubeObject } from '../../../agent/kube/kube-objects.ts'
import { createLog } from '../../../agent/observe/log.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'
import { LEADER, row } from '../scripted-cluster.ts'

/** A different secret for each place, so that a leak names its place. */
const CANARIES: Record<string, string> = {}
function canary(place: string): string {
  CANARIES[place] ??= `c4nary-${Object.keys(CANARIES).length}-${place.replaceAll(' ', '-')}/+x`
  return CANARIES[place] as string
}

const NOTES = {
  'kubectl.kubernetes.io/last-applied-configuration': JSON.stringify({ a: canary('last applied') }),
  'example.com/note': canary('annotation'),
  'langflow-leader/injected': JSON.stringify({ before: canary('injected record') }),
}

const SPEC = {
  initContainers: [
    {
      name: 'agent',
      image: 'agent:1',
      args: [
        'agent',
        `--target=http://me:${canary('password in an own flag')}@127.0.0.1:7860`,
        '--standby',
        'warm',
      ],
      env: [
        { name: 'LEADER_LEASE_NAME', value: 'lock' },
        { name: 'LEADER_API_KEY', value: canary('own variable with a key') },
      ],
    },
  ],
  containers: [
    {
      name: 'langflow',
      image: `me:${canary('password in an image')}@registry.example/langflow:1@sha256:abc`,
      command: ['/opt/node', 'launch', '--', 'langflow', 'run'],
      args: [
        `--superuser-password=${canary('argument')}`,
        '--token',
        canary('argument after its flag'),
        `-p${canary('glued argument')}`,
        canary('bare argument'),
        '-c',
        `export A=${canary('script')}; langflow run`,
        '--port=7860',
      ],
      env: [
        { name: 'LANGFLOW_SECRET_KEY', value: canary('literal key') },
        { name: 'LANGFLOW_DATABASE_URL', value: `postgresql://u:${canary('password in a URL')}@db/x` },
        { name: 'OPENAI', value: canary('literal of another name') },
        { name: 'WORD', value: 'canary-without-a-digit' },
        { name: 'LANGFLOW_AUTO_LOGIN', value: 'false' },
        { name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'db', key: 'password' } } },
      ],
      envFrom: [{ secretRef: { name: 'all' } }],
      livenessProbe: {
        httpGet: {
          path: `/x?token=${canary('token of a probe')}&a=${canary('query of a probe')}`,
          httpHeaders: [{ name: 'X', value: canary('header') }],
        },
      },
      lifecycle: { preStop: { exec: { command: ['curl', canary('command of a hook')] } } },
    },
    { name: 'sidecar', image: 'other' },
  ],
  volumes: [
    { name: 'env', secret: { secretName: 'env-file' } },
    { name: 'url', secret: { secretName: 'url' } },
    { name: 'csi', csi: { driver: 'x', volumeAttributes: { token: canary('volume attribute') } } },
  ],
}

function object(name: string, more: object = {}): KubeObject {
  const labels = { app: 'langflow' }
  return {
    metadata: { name, uid: 'u', resourceVersion: '1', annotations: NOTES, labels },
    ...more,
  } as KubeObject
}

const POD = object('langflow-0', {
  spec: SPEC,
  status: {
    phase: 'Running',
    containerStatuses: [
      {
        name: 'langflow',
        restartCount: 1,
        lastState: { terminated: { exitCode: 1, message: canary('the last lines of LangFlow') } },
      },
    ],
  },
})
const LISTS: Record<string, KubeObject[]> = {
  pods: [POD, object('other', { spec: { containers: [{ name: 'x' }] } })],
}
const LEASE = {
  ...object('lock', { spec: { holderIdentity: 'langflow-0_uid', leaseTransitions: 7 } }),
}
LEASE.metadata = {
  ...LEASE.metadata,
  annotations: { ...NOTES, 'langflow-leader/front': `7 10.0.0.1:8091 ${'k'.repeat(22)}` },
} as never

/** The lines of a launcher's container: its own, and those of LangFlow. */
function launcherLog(): string {
  const lines: string[] = []
  const stream = { write: (line: string) => void lines.push(line) }
  const log = createLog({ identity: 'langflow-0', level: 'info', component: 'launcher', stream })
  log.warn('cannot read it', { server: canary('unknown field of an own line') })
  lines.push(`a flow printed ${canary("LangFlow's line")}\n`)
  lines.push(
    `${JSON.stringify({ level: 'info', event: canary("LangFlow's JSON line"), component: 'launcher' })}\n`,
  )
  log.event('workload_started', { epoch: 7 })
  return lines.join('')
}

class Scripted implements Reading {
  readonly leaseName = 'lock'
  readonly clock = new VirtualClock()
  /** What the user may not read, or what does not answer. */
  denied = new Set<string>()
  readonly source = {
    overview: async () => {
      this.refuse('status')
      const problem = `connect to redis://:${canary('password in a problem')}@redis failed`
      return overviewOf(LEASE as never, [row('langflow-0', LEADER), row('langflow-1', problem)], 0)
    },
    history: async () => {
      this.refuse('history')
      return LEADER.history
    },
  }
  readonly objects = {
    namespace: 'team',
    list: async ({ resource }: { resource: string }) => {
      this.refuse(resource)
      return LISTS[resource] ?? []
    },
    get: async ({ resource }: { resource: string }, name: string) => {
      this.refuse(`${resource}/${name}`)
      return LEASE
    },
    logs: async (_: string, { container, previous }: { container: string; previous: boolean }) => {
      this.refuse(`log of ${container}`)
      if (previous) return launcherLog().replace('started LangFlow', 'an earlier run')
      return container === 'sidecar' ? `${canary("sidecar's line")}\n` : launcherLog()
    },
  }

  report() {
    return makeReport(this)
  }

  private refuse(what: string): void {
    if (this.denied.has(what)) throw new ApiError('forbidden', `may not read ${what}`, { status: 403 })
  }
}

describe('a report', () => {
  test('contains no value of another program from any place', async () => {
    const { text, failures } = await new Scripted().report()
    const leaks = Object.entries(CANARIES).filter(([, value]) => text.includes(value))
    assert.deepEqual([leaks, failures], [[], []])
    assert.doesNotMatch(text, /kkkkk|canary/)
    assert.ok(Object.keys(CANARIES).length > 20)
  })

  test('contains status, history, the settings of langflow-leader, states of objects, and own log lines', async () => {
    const { text, parts } = await new Scripted().report()
    const titles = [...text.matchAll(/^===== (.*) =====$/gm)].map(([, title]) => title)
    assert.deepEqual(titles, [
      ...['status', 'history', 'Lease', 'Pod/langflow-0'],
      ...['log of langflow-0/agent', 'log of langflow-0/langflow, its previous run'],
      'log of langflow-0/langflow',
    ])
    assert.equal(parts, titles.length)
    for (const kept of [
      /^langflow-leader report of the Lease team\/lock$/m,
      /"event":"workload_started"/,
      /- LEADER_LEASE_NAME=lock/,
      /- warm$/m,
      /--target=http:\/\/\S+@127/,
      /- LANGFLOW_SECRET_KEY$/m,
      /- langflow-leader\/front$/m,
    ])
      assert.match(text, kept)
  })

  test('has one sentence for each part that cannot be read, and contains the others', async () => {
    const reading = new Scripted()
    const denied = ['status', 'log of langflow', 'leases.coordination.k8s.io/lock']
    reading.denied = new Set(denied)
    const { text, failures, parts } = await reading.report()
    assert.equal(failures.length, denied.length + 1)
    for (const { message } of failures) assert.ok(text.includes(`\n${message}\n`), message)
    assert.match(text, /===== Pod\/langflow-0 =====/)
    assert.equal(parts, 3)
  })

  test('without the right to list pods contains what the Lease and the agents report', async () => {
    const reading = new Scripted()
    reading.denied.add('pods')
    const { text, failures } = await reading.report()
    assert.equal(failures.length, 1)
    assert.match(text, /===== status =====[\s\S]*===== history =====/)
  })
})

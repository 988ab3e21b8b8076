import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { overviewOf } from '../../../agent/cli/overview.ts'
import { makeReport, type Reading, type Report } from '../../../agent/cli/report/report.ts'
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
const base64 = (text: string) => Buffer.from(text).toString('base64')

/** A secret that looks like a word. It is removed from manifests. */
const PLAIN = 'canary-without-a-digit'

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
        { name: 'WORD', value: PLAIN },
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
const SECRETS: Record<string, Record<string, string>> = {
  db: { password: base64(canary('Secret')), username: base64('langflow-user') },
  all: { ANY: base64(canary('Secret of envFrom')) },
  url: { 'database-url': base64(`postgresql://me:${canary('password in a Secret')}@db/x`) },
  'env-file': { 'langflow.env': base64(`# all\nTOKEN="${canary('env file in a Secret')}"\n`) },
}
const EVENT = object('e', {
  involvedObject: { kind: 'Pod', name: 'langflow-0' },
  type: 'Warning',
  reason: 'Failed',
  message: `it printed ${canary('Secret')} and ${encodeURIComponent(canary('Secret'))}, and ${canary('password in a Secret')}, pulled me:${canary('password in an image')}@registry.example/langflow, asked /x?a=${canary('query of a probe')}`,
  lastTimestamp: '2026-01-02T03:04:05Z',
})
const LISTS: Record<string, KubeObject[]> = {
  pods: [POD, object('other', { spec: { containers: [{ name: 'x' }] } })],
  'deployments.apps': [
    object('langflow', { spec: { template: { spec: SPEC } } }),
    object('of-another-team', { spec: { template: { spec: { containers: [] } } } }),
  ],
  'statefulsets.apps': [],
  services: [object('langflow-service', { spec: { selector: { app: 'langflow' } } })],
  'networkpolicies.networking.k8s.io': [
    object('other-policy', { spec: { podSelector: { matchLabels: { a: 'b' } } } }),
  ],
  'poddisruptionbudgets.policy': [
    object('budget', { spec: { selector: { matchLabels: { app: 'langflow' } } } }),
  ],
  events: [
    EVENT,
    object('f', { involvedObject: { kind: 'Pod', name: 'other' }, message: 'of another team' }),
  ],
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
  log.warn(`cannot read it: ${canary('env file in a Secret')}`)
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
  langflowLogs = false
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
  check = async () => {
    this.refuse('check')
    return `× a finding that prints ${canary('literal key')}\n`
  }
  readonly objects = {
    namespace: 'team',
    list: async ({ resource }: { resource: string }) => {
      this.refuse(resource)
      return LISTS[resource] ?? []
    },
    get: async ({ resource }: { resource: string }, name: string) => {
      this.refuse(`${resource}/${name}`)
      return resource === 'secrets' ? object(name, { data: SECRETS[name] }) : LEASE
    },
    logs: async (_: string, { container, previous }: { container: string; previous: boolean }) => {
      this.refuse(`log of ${container}`)
      if (previous) return launcherLog().replace('started LangFlow', 'an earlier run')
      return container === 'sidecar' ? `${canary("sidecar's line")}\n` : launcherLog()
    },
  }

  report(): Promise<Report> {
    return makeReport(this)
  }

  private refuse(what: string): void {
    if (this.denied.has(what)) throw new ApiError('forbidden', `may not read ${what}`, { status: 403 })
  }
}

function leaks(text: string): string[] {
  return Object.entries(CANARIES).flatMap(([place, value]) =>
    [value, base64(value), encodeURIComponent(value), JSON.stringify(value).slice(1, -1)].some((form) =>
      text.includes(form),
    )
      ? [place]
      : [],
  )
}

describe('a report', () => {
  test('contains no secret from any place', async () => {
    const { text, missing } = await new Scripted().report()
    assert.deepEqual([leaks(text), missing], [[], []])
    assert.ok(!text.includes('k'.repeat(22)), 'the key of the fronts')
    assert.ok(!text.includes(PLAIN))
    assert.ok(Object.keys(CANARIES).length > 20)
  })

  test('contains status, history, check, Events, own log lines, and the manifests of the installation alone', async () => {
    const { text, parts } = await new Scripted().report()
    const titles = [...text.matchAll(/^===== (.*) =====$/gm)].map(([, title]) => title)
    assert.deepEqual(titles, [
      ...['status', 'history', 'check', 'Events', 'Lease', 'Pod/langflow-0', 'Deployment/langflow'],
      ...['Service/langflow-service', 'PodDisruptionBudget/budget', 'log of langflow-0/agent'],
      ...['log of langflow-0/langflow, its previous run', 'log of langflow-0/langflow'],
    ])
    assert.equal(parts, titles.length)
    for (const kept of [
      /^langflow-leader report of the Lease team\/lock$/m,
      /LangFlow's own log lines are not included/,
      /^2026-01-02T03:04:05Z {2}Warning {2}Failed {2}Pod\/langflow-0 {2}it printed <removed> and <removed>, and <removed>, pulled <removed>@registry\.example\/langflow, asked \/x\?a=<removed>$/m,
      /"event":"workload_started"/,
      /^2 lines of LangFlow or others are left out\.$/m,
      /name: LANGFLOW_AUTO_LOGIN\n +value: "false"/,
      /name: LEADER_LEASE_NAME\n +value: lock/,
      /- --standby\n +- warm/,
      /- --port=7860/,
      /image: <removed>@registry\.example\/langflow:1@sha256:abc/,
      /path: \/x\?<removed>/,
      /- --superuser-password=<removed>/,
      /secretKeyRef:\n +name: db/,
      /--target=http:\/\/me:<removed>@127/,
    ])
      assert.match(text, kept)
    assert.doesNotMatch(text, /another team|of-another-team|sidecar's/)
  })

  test('has one sentence for each part that cannot be read, and contains the others', async () => {
    const reading = new Scripted()
    reading.denied = new Set([
      'status',
      'check',
      'services',
      'events',
      'secrets/db',
      'log of langflow',
      'leases.coordination.k8s.io/lock',
    ])
    reading.check = () => new Promise<never>(() => {})
    const made = reading.report()
    await reading.clock.pass(15_000)
    const { text, missing } = await made
    assert.deepEqual(missing.toSorted(), [
      'Events could not be read: may not read events',
      'Lease could not be read: may not read leases.coordination.k8s.io/lock',
      'check could not be read: no result within 15 s',
      'log of langflow-0/langflow could not be read: may not read log of langflow',
      'log of langflow-0/langflow, its previous run could not be read: may not read log of langflow',
      'status could not be read: may not read status',
      'the list of services could not be read: may not read services',
      'the values of the Secret "db" could not be removed from logs, Events and messages: may not read secrets/db',
    ])
    for (const sentence of missing) assert.ok(text.includes(`\n${sentence}\n`), sentence)
    assert.match(text, /===== Pod\/langflow-0 =====/)
    assert.deepEqual(leaks(text), [])
  })

  test('without the right to list pods contains what the Lease and the agents report', async () => {
    const reading = new Scripted()
    reading.denied.add('pods')
    const { text, missing } = await reading.report()
    assert.deepEqual(missing, ['the list of pods could not be read: may not read pods'])
    assert.match(text, /===== status =====[\s\S]*===== history =====/)
  })

  test("contains LangFlow's own lines only if that is asked for, without the values of Secrets", async () => {
    const reading = new Scripted()
    reading.langflowLogs = true
    const { text } = await reading.report()
    assert.match(text, /LangFlow's own log lines are included\. They may contain/)
    assert.deepEqual(leaks(text), ["LangFlow's line", "LangFlow's JSON line"])
  })
})

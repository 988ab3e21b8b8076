import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { overviewOf } from '../../../agent/cli/overview.ts'
import { makeReport } from '../../../agent/cli/report/report.ts'
import { ApiError } from '../../../agent/kube/kube-errors.ts'
import type { KubeObject } from '../../../agent/kube/kube-objects.ts'
import { createLog } from '../../../agent/observe/log.ts'
import { VirtualClock } from '../../harness/virtual-clock.ts'
import { LEADER, row } from '../scripted-cluster.ts'

/** A value of another program, for each place where one can be. */
const canary = (place: string) => `canary-of-${place}`

const POD = {
  metadata: { name: 'langflow-0', uid: 'u', resourceVersion: '1', annotations: { a: canary('annotation') } },
  spec: {
    initContainers: [
      {
        name: 'agent',
        image: `me:${canary('image')}@registry.example/agent:1`,
        args: ['agent', `--target=http://me:${canary('own-flag')}@127.0.0.1:7860`, '--standby', 'warm'],
        env: [
          { name: 'LEADER_LEASE_NAME', value: 'lock' },
          { name: 'LEADER_API_KEY', value: canary('own-key') },
        ],
      },
    ],
    containers: [
      {
        name: 'langflow',
        command: ['/opt/langflow-leader', 'launch', '--socket', '/run/x', '--', 'langflow', 'run'],
        args: ['--token', canary('argument')],
        env: [
          { name: 'LANGFLOW_SECRET_KEY', value: canary('variable') },
          { name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'db', key: 'password' } } },
        ],
        livenessProbe: { httpGet: { path: `/x?token=${canary('probe')}` } },
      },
      { name: 'sidecar', image: 'other' },
    ],
    imagePullSecrets: [{ name: 'registry' }],
    volumes: [
      { name: 'tls', projected: { sources: [{ secret: { name: 'tls' } }] } },
      { name: 'optional', secret: { secretName: 'absent' } },
      { name: 'csi', csi: { driver: 'x', volumeAttributes: { token: canary('volume') } } },
    ],
  },
  status: {
    phase: 'Running',
    containerStatuses: [
      {
        name: 'langflow',
        restartCount: 1,
        lastState: { terminated: { exitCode: 1, reason: 'OOMKilled', message: canary('last-lines') } },
      },
    ],
  },
} as unknown as KubeObject
const OTHER = {
  metadata: { name: 'other', uid: 'u', resourceVersion: '1' },
  spec: { containers: [{ name: 'x' }] },
}
const NOTES = {
  'example.com/note': canary('note-of-the-Lease'),
  'langflow-leader/front': `7 10.0.0.1:8091 ${canary('front')}`,
  'langflow-leader/paused': 'true',
}
const LEASE = {
  metadata: { name: 'lock', uid: 'u', resourceVersion: '1', annotations: NOTES },
  spec: { holderIdentity: 'langflow-0_uid', leaseTransitions: 7 },
} as unknown as KubeObject

/** The Secrets of the pod. The agent logs their values. */
const SECRETS: Readonly<Record<string, string>> = {
  db: canary('Secret'),
  registry: JSON.stringify({
    auths: { r: { auth: Buffer.from(`me:${canary('registry')}`).toString('base64') } },
  }),
  tls: `-----BEGIN-----\n${canary('key')}\n`,
}

/** The lines of a launcher's container: its own, and those of LangFlow. */
function launcherLog(): string {
  const lines: string[] = []
  const stream = { write: (line: string) => void lines.push(line) }
  const log = createLog({ identity: 'langflow-0', level: 'info', component: 'launcher', stream })
  log.warn('cannot read it', { server: canary('unknown-field') })
  lines.push(`a flow printed ${canary('line')}\n`)
  lines.push(`${JSON.stringify({ level: 'info', event: canary('JSON-line'), component: 'launcher' })}\n`)
  log.event('workload_started', { epoch: 7 })
  // LangFlow may write a line in any form.
  const forged = {
    identity: canary('identity'),
    epoch: canary('epoch'),
    msg: canary('msg'),
    time: canary('time'),
  }
  for (const event of ['serving', canary('event')])
    lines.push(lines[0]!.replace(/,"msg".*/, `,${JSON.stringify({ event, ...forged }).slice(1)}`), '\n')
  return lines.join('')
}

function agentLog(): string {
  const line = (msg: string) =>
    `{"level":"warn","time":"2026-01-02T03:04:05.678Z","component":"agent","msg":"${msg}"}\n`
  const encoded = (text: string) => Buffer.from(`me:${text}`).toString('base64')
  const texts = [
    canary('Secret'),
    canary('registry'),
    canary('key'),
    `https://x/${encoded(canary('Secret'))}`,
  ]
  return texts.map(line).join('')
}

/** @param denied what the user may not read */
function reportWithout(...denied: string[]) {
  const read = async <T>(what: string, value: T): Promise<T> => {
    if (denied.includes(what)) throw new ApiError('forbidden', `may not read ${what}`, 403)
    return value
  }
  const problem = `connect to redis://:${canary('problem')}@redis failed`
  const rows = [row('langflow-0', LEADER), row('langflow-1', problem)]
  const logs = { agent: agentLog(), langflow: launcherLog(), sidecar: `${canary('sidecar')}\n` }
  return makeReport({
    leaseName: 'lock',
    clock: new VirtualClock(),
    source: {
      overview: () => read('status', overviewOf(LEASE as never, rows, 0)),
      history: () => read('history', LEADER.history),
    },
    objects: {
      namespace: 'team',
      list: () => read('pods', [POD, OTHER as KubeObject]),
      get: async ({ kind }, name) => {
        if (kind !== 'Secret') return read('Lease', LEASE)
        if (SECRETS[name] === undefined) throw new ApiError('not_found', 'there is none', 404)
        return read(`Secret/${name}`, {
          ...OTHER,
          data: { key: Buffer.from(SECRETS[name]).toString('base64') },
        })
      },
      logs: (_, { container }) => read(`log of ${container}`, logs[container as keyof typeof logs]),
    },
  })
}

describe('a report', () => {
  test('contains no value of another program from any place', async () => {
    const { text, failures } = await reportWithout()
    assert.deepEqual([text.match(/canary\S*/g), failures], [null, []])
    assert.equal(text.match(/"msg":"(https:\/\/x\/bWU6)?\[redacted\]"/g)?.length, 4)
  })

  test('has a sentence for a Secret that cannot be read', async () => {
    const { text, failures, parts } = await reportWithout('Secret/db')
    assert.deepEqual([failures.length, parts], [1, 7])
    assert.match(text, /^Secret\/db, whose values .* could not be read: may not read Secret\/db$/m)
  })

  test('contains status, history, the settings of langflow-leader, states of containers, and own log lines', async () => {
    const { text, parts } = await reportWithout()
    const titles = [...text.matchAll(/^===== (.*) =====$/gm)].map(([, title]) => title)
    const log = 'log of langflow-0'
    const logs = [`${log}/agent`, `${log}/langflow, its previous run`, `${log}/langflow`]
    assert.deepEqual(titles, ['status', 'history', 'Lease', 'Pod/langflow-0', ...logs])
    assert.equal(parts, titles.length)
    for (const kept of [
      /^langflow-leader report of the Lease team\/lock$/m,
      /"event":"workload_started"/,
      /- LEADER_LEASE_NAME=lock$/m,
      /- --standby\n +- warm$/m,
      /- \/run\/x$/m,
      /--target=http:\/\/\S+@127/,
      /- LANGFLOW_SECRET_KEY$/m,
      /- langflow-leader\/front$/m,
      /- langflow-leader\/paused=true$/m,
      /- OOMKilled$/m,
    ])
      assert.match(text, kept)
  })

  test('has one sentence for each part that cannot be read, and contains the others', async () => {
    const { text, failures, parts } = await reportWithout('status', 'log of langflow', 'Lease')
    assert.deepEqual([failures.length, parts], [4, 3])
    for (const { message } of failures) assert.ok(text.includes(`\n${message}\n`), message)
    const withoutPods = await reportWithout('pods')
    assert.deepEqual([withoutPods.failures.length, withoutPods.parts], [1, 3])
  })
})

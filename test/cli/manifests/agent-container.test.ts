import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { agentOf } from '../../../agent/cli/manifests/agent-container.ts'
import { AGENT, podWith } from '../agents.ts'

const LEASE = 'langflow-leader-lock'
const env = (name: string, value: string) => ({ env: [{ name, value }] })
const BOTH = { args: ['agent', '--lease-name=y'], ...env('LEADER_LEASE_NAME', 'x') }
const FROM = { name: 'LEADER_LEASE_NAME', valueFrom: { configMapKeyRef: {} } }
const OTHER_PORT = [{ name: 'agent', containerPort: 9090 }]
const PATH = ['node', '/opt/langflow-leader.mjs']

describe('the agent of a pod', () => {
  const found: [what: string, container: object, leaseName: string | null, port: number][] = [
    ['is found in deploy/langflow.yaml', AGENT, LEASE, 8090],
    ['has the container port that is named agent', { args: ['agent'], ports: OTHER_PORT }, LEASE, 9090],
    ['has the port of LEADER_LISTEN', { ...AGENT, ...env('LEADER_LISTEN', '[::]:9191') }, LEASE, 9191],
    ['has the port of --listen', { args: ['agent', '--listen', ':9292'] }, LEASE, 9292],
    ['has the default port if its flag allows any port', { args: ['agent', '--listen=:0'] }, LEASE, 8090],
    ['competes for the Lease of its variable', { ...AGENT, ...env('LEADER_LEASE_NAME', 'x') }, 'x', 8090],
    ['competes for the Lease of its flag if it has both', BOTH, 'y', 8090],
    ['competes for an unknown Lease with envFrom', { ...AGENT, envFrom: [{ configMapRef: {} }] }, null, 8090],
    ['competes for an unknown Lease with valueFrom', { ...AGENT, env: [FROM] }, null, 8090],
    ['is found if its command is a path', { command: PATH, args: ['agent', '--lease-name', 'x'] }, 'x', 8090],
    ['is found beside the launcher', { image: 'r/langflow-leader:1', args: ['run', '--', 'x'] }, LEASE, 8090],
  ]
  for (const [what, container, leaseName, port] of found)
    test(what, () => {
      assert.deepEqual(agentOf(podWith(container)), { leaseName, port, absence: null })
    })

  const none: [what: string, container: object, status?: object][] = [
    ["a pod with only LangFlow's container", { name: 'x', args: ['langflow', 'run'] }],
    [
      'a container with the command "run" of another program',
      { image: 'langflow', args: ['run', '--', 'x'] },
    ],
    ['a container with only a launcher', { command: [...PATH, 'launch', '--'], args: ['x'] }],
    ['a pod that has failed, such as an evicted one', AGENT, { phase: 'Failed' }],
    ['a pod that has succeeded', AGENT, { phase: 'Succeeded' }],
  ]
  for (const [what, container, status] of none)
    test(`is not found in ${what}`, () => {
      assert.equal(agentOf(podWith(container, status)), null)
    })

  const state = (state: object) => ({ phase: 'Pending', initContainerStatuses: [{ name: 'agent', state }] })
  const absent: [status: object, absence: string | null][] = [
    [state({ waiting: { reason: 'ImagePullBackOff' } }), 'its agent is not running: ImagePullBackOff'],
    [state({ terminated: { reason: 'OOMKilled' } }), 'its agent is not running: OOMKilled'],
    [{ phase: 'Pending' }, 'its agent is not running yet: the pod is Pending'],
    // The pod is Pending while LangFlow's image is pulled.
    [state({ running: {} }), null],
    [{}, null],
  ]
  for (const [status, absence] of absent)
    test(`${absence === null ? 'may answer' : 'cannot answer'}: ${JSON.stringify(status)}`, () => {
      assert.equal(agentOf(podWith(AGENT, status))?.absence, absence)
    })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { workloadEnvironment } from '../../agent/launcher/environment.ts'

test('the workload sees neither the cluster nor the launcher’s settings, but who leads', () => {
  const env = {
    PATH: '/bin',
    KUBERNETES_SERVICE_HOST: '10.0.0.1',
    KUBERNETES_PORT_443_TCP: 'tcp://10.0.0.1:443',
    LEADER_SOCKET: '/run/socket',
    LEADER_EPOCH: '6',
    POSTGRES_SERVICE_HOST: '10.0.0.2',
    LANGFLOW_LEADER_NOTE: 'stays',
    MY_KUBERNETES_NOTE: 'stays',
  }
  const before = { ...env }
  assert.deepEqual(workloadEnvironment(env, { epoch: 7, identity: 'pod-0_uid' }), {
    PATH: '/bin',
    POSTGRES_SERVICE_HOST: '10.0.0.2',
    LANGFLOW_LEADER_NOTE: 'stays',
    MY_KUBERNETES_NOTE: 'stays',
    LEADER_EPOCH: '7',
    LEADER_IDENTITY: 'pod-0_uid',
  })
  assert.deepEqual(env, before)
})

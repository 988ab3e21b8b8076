import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { describe, test } from 'node:test'
import { defaultIdentity, podFields as podFrom } from '../../agent/config/pod-fields.ts'

function podOf(env: NodeJS.ProcessEnv, otherwise: { named?: true; hasPeers?: true } = {}) {
  return podFrom(env, { named: false, hasPeers: false, ...otherwise })
}

describe("the agent's pod", () => {
  test('is read from the downward API', () => {
    const env = {
      POD_NAME: 'langflow-7d9c5b8f4-x2x7q',
      POD_UID: '3f1c',
      POD_IP: '10.0.0.7',
      POD_TEMPLATE_HASH: '7d9c5b8f4',
    }
    assert.deepEqual(podOf({ ...env, CONTROLLER_REVISION_HASH: '' }), {
      name: 'langflow-7d9c5b8f4-x2x7q',
      uid: '3f1c',
      ip: '10.0.0.7',
      revision: '7d9c5b8f4',
      owner: 'Deployment/langflow',
      problem: null,
    })
  })

  test('of a StatefulSet has its revision and owner as well', () => {
    const { revision, owner } = podOf({
      POD_NAME: 'lang-flow-12',
      POD_TEMPLATE_HASH: '',
      CONTROLLER_REVISION_HASH: 'lang-flow-5d4f9',
    })
    assert.deepEqual([revision, owner], ['lang-flow-5d4f9', 'StatefulSet/lang-flow'])
  })

  test('has unknown fields if variables are missing or its name was cut', () => {
    const nothing = { name: null, uid: null, ip: null, revision: null, owner: null, problem: null }
    assert.deepEqual(podOf({}), nothing)
    assert.equal(podOf({ POD_NAME: 'a-very-long-name-x2x7q', POD_TEMPLATE_HASH: '7d9c5b8f4' }).owner, null)
    assert.equal(podOf({ POD_NAME: 'alone' }).owner, null)
    assert.equal(podOf({ POD_NAME: 'a-24567', CONTROLLER_REVISION_HASH: '5d4f9' }).owner, null)
    assert.equal(podOf({ POD_NAME: 'alone', CONTROLLER_REVISION_HASH: 'x' }).owner, null)
  })

  test('without POD_NAME has a problem, unless a flag sets the identity or there is no pod', () => {
    const env = { KUBERNETES_SERVICE_HOST: '10.0.0.1' }
    assert.match(
      podOf(env).problem ?? '',
      /^the agent cannot read the name and the UID of its pod: add POD_NAME \(metadata.name\) and POD_UID/,
    )
    assert.equal(podOf(env, { named: true }).problem, null)
    assert.equal(podOf({ ...env, POD_NAME: 'a' }).problem, null)
  })

  test('without a revision has a problem if it has peers', () => {
    const env = { KUBERNETES_SERVICE_HOST: '10.0.0.1', POD_NAME: 'a', POD_UID: 'b' }
    const problem = /^the agent cannot read its pod's revision: add POD_TEMPLATE_HASH/
    assert.match(podOf(env, { hasPeers: true }).problem ?? '', problem)
    assert.equal(podOf(env).problem, null)
    const asked = { ...env, POD_TEMPLATE_HASH: '', CONTROLLER_REVISION_HASH: '' }
    assert.equal(podOf(asked, { hasPeers: true }).problem, null)
    assert.equal(podOf({ POD_NAME: 'a', POD_UID: 'b' }, { hasPeers: true }).problem, null)
  })
})

describe('the identity', () => {
  test('is pod name and UID if both are set', () => {
    assert.equal(defaultIdentity({ POD_NAME: 'langflow-0', POD_UID: '3f1c' }), 'langflow-0_3f1c')
  })

  test('is the host name and a random part outside of a pod', () => {
    const identity = defaultIdentity({})
    assert.ok(identity.startsWith(`${hostname()}_`))
    assert.notEqual(defaultIdentity({}), identity)
  })

  test('is refused if only the name or only the UID is set', () => {
    assert.throws(() => defaultIdentity({ POD_NAME: 'langflow-0' }), {
      message: /^POD_NAME is set but POD_UID is not: .*fieldPath metadata\.uid, or set --identity$/,
    })
    assert.throws(() => defaultIdentity({ POD_UID: '3f1c', POD_NAME: '' }), {
      message: /^POD_UID is set but POD_NAME is not: .*fieldPath metadata\.name, or set --identity$/,
    })
  })
})

import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { describe, test } from 'node:test'
import { defaultIdentity, podFields as podFrom } from '../../agent/config/pod-fields.ts'

function podOf(env: NodeJS.ProcessEnv, otherwise: { named?: true; hasPeers?: true } = {}) {
  return podFrom(env, { named: false, hasPeers: false, ...otherwise })
}

describe("the agent's pod", () => {
  test('is read from the downward API', () => {
    const [name, ip, revision] = ['langflow-7d9c5b8f4-x2x7q', '10.0.0.7', '7d9c5b8f4']
    const env = { POD_NAME: name, POD_UID: '3f1c', POD_IP: ip, POD_TEMPLATE_HASH: revision }
    const found = { name, uid: '3f1c', ip, revision, owner: 'Deployment/langflow', problem: null }
    assert.deepEqual(podOf({ ...env, CONTROLLER_REVISION_HASH: '' }), found)
  })

  test('has the owner that its name and revision show, unless its name was cut', () => {
    const rows: [name: string, template: string, controller: string, owner: string | null][] = [
      ['lang-flow-12', '', 'lang-flow-5d4f9', 'StatefulSet/lang-flow'],
      ['a-very-long-name-x2x7q', '7d9c5b8f4', '', null],
      ['alone', '', '', null],
      ['a-24567', '', '5d4f9', null],
      ['alone', '', 'x', null],
    ]
    for (const [POD_NAME, POD_TEMPLATE_HASH, CONTROLLER_REVISION_HASH, owner] of rows)
      assert.equal(podOf({ POD_NAME, POD_TEMPLATE_HASH, CONTROLLER_REVISION_HASH }).owner, owner, POD_NAME)
    const nothing = { name: null, uid: null, ip: null, revision: null, owner: null, problem: null }
    assert.deepEqual(podOf({}), nothing)
  })

  test('has a problem without its name, or without its revision if it has peers', () => {
    const inPod = { KUBERNETES_SERVICE_HOST: '10.0.0.1' }
    const named = { ...inPod, POD_NAME: 'a', POD_UID: 'b' }
    const asked = { ...named, POD_TEMPLATE_HASH: '', CONTROLLER_REVISION_HASH: '' }
    const rows: [env: NodeJS.ProcessEnv, otherwise: Parameters<typeof podOf>[1], lacks: string | null][] = [
      [inPod, {}, 'POD_NAME'],
      [inPod, { named: true }, null],
      [{ ...inPod, POD_NAME: 'a' }, {}, null],
      [named, { hasPeers: true }, 'POD_TEMPLATE_HASH'],
      [named, {}, null],
      [asked, { hasPeers: true }, null],
      [{ POD_NAME: 'a', POD_UID: 'b' }, { hasPeers: true }, null],
    ]
    for (const [env, otherwise, lacks] of rows) {
      const { problem } = podOf(env, otherwise)
      assert.equal(/add (\w+)/.exec(problem ?? '')?.[1] ?? null, lacks)
    }
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
    assert.throws(() => defaultIdentity({ POD_NAME: 'langflow-0' }), { message: /fieldPath metadata\.uid/ })
    assert.throws(() => defaultIdentity({ POD_UID: '3f1c', POD_NAME: '' }), {
      message: /fieldPath metadata\.name/,
    })
  })
})

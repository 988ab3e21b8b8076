import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { describe, test } from 'node:test'
import { defaultIdentity, podFields } from '../../agent/config/pod-fields.ts'

describe("the agent's pod", () => {
  test('is read from the downward API', () => {
    const [name, ip, revision] = ['langflow-7d9c5b8f4-x2x7q', '10.0.0.7', '7d9c5b8f4']
    const env = { POD_NAME: name, POD_UID: '3f1c', POD_IP: ip, POD_TEMPLATE_HASH: revision }
    const found = { name, uid: '3f1c', ip, revision, owner: 'Deployment/langflow' }
    assert.deepEqual(podFields({ ...env, CONTROLLER_REVISION_HASH: '' }), found)
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
      assert.equal(
        podFields({ POD_NAME, POD_TEMPLATE_HASH, CONTROLLER_REVISION_HASH }).owner,
        owner,
        POD_NAME,
      )
    const nothing = { name: null, uid: null, ip: null, revision: null, owner: null }
    assert.deepEqual(podFields({}), nothing)
  })
})

describe('the identity', () => {
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

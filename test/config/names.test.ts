import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { describe, it } from 'node:test'
import {
  defaultIdentity,
  parseIdentity,
  parseNamespace,
  parseObjectName,
  parsePath,
  parseSocket,
} from '../../agent/config/names.ts'

describe('a name that Kubernetes must accept', () => {
  it('may be a DNS subdomain for the Lease and a DNS label for the namespace', () => {
    assert.equal(parseObjectName('a.b-c.0'), 'a.b-c.0')
    assert.equal(parseObjectName('a'.repeat(253)), 'a'.repeat(253))
    assert.equal(parseNamespace('team-1'), 'team-1')
  })
  for (const text of ['', 'A', 'a_b', '-a', 'a-', '.a', 'a..b', 'a/b', 'a\n', 'ä', 'a'.repeat(254)]) {
    it(`is not ${JSON.stringify(text.slice(0, 20))}`, () => {
      assert.throws(() => parseObjectName(text), {
        message: /lower-case letters.*such as langflow-leader-lock$/,
      })
    })
  }
  for (const text of ['', 'a.b', 'A', 'a'.repeat(64)]) {
    it(`is not ${JSON.stringify(text.slice(0, 20))} for a namespace`, () => {
      assert.throws(() => parseNamespace(text), {
        message: /at most 63 lower-case letters.*such as langflow$/,
      })
    })
  }
})

describe('the identity', () => {
  it('is pod name and UID where the pod says both', () => {
    assert.equal(defaultIdentity({ POD_NAME: 'langflow-0', POD_UID: '3f1c' }), 'langflow-0_3f1c')
  })
  it('is host name and something random outside a pod, another for each process', () => {
    const identity = defaultIdentity({})
    assert.ok(identity.startsWith(`${hostname()}_`))
    assert.notEqual(defaultIdentity({}), identity)
  })
  it('is refused where the pod says only its name', () => {
    assert.throws(() => defaultIdentity({ POD_NAME: 'langflow-0' }), {
      message: /^POD_NAME is set but POD_UID is not: .*fieldPath metadata\.uid, or set --identity$/,
    })
  })
  it('is refused where the pod says only its UID', () => {
    assert.throws(() => defaultIdentity({ POD_UID: '3f1c', POD_NAME: '' }), {
      message: /^POD_UID is set but POD_NAME is not: .*fieldPath metadata\.name, or set --identity$/,
    })
  })
  for (const text of ['', 'a b', 'a\nb', 'ä', 'x'.repeat(513)]) {
    it(`is not ${JSON.stringify(text.slice(0, 20))}`, () => {
      assert.throws(() => parseIdentity(text), { message: /^use 1 to 512 printable ASCII characters/ })
    })
  }
})

describe('a path', () => {
  it('is normalised', () => assert.equal(parsePath('/run//x/../y'), '/run/y'))
  for (const text of ['', 'run/x', './x', '/a\0b']) {
    it(`is not ${JSON.stringify(text)}`, () => {
      assert.throws(() => parsePath(text), { message: /^use an absolute path, such as / })
    })
  }
  it('of a socket fits into what Linux takes', () => {
    assert.equal(parseSocket(`/${'a'.repeat(106)}`).length, 107)
    assert.throws(() => parseSocket(`/${'a'.repeat(107)}`), {
      message: "a unix socket's path has at most 107 bytes; this one has 108",
    })
  })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Script } from 'node:vm'
import { OperationError } from '../agent/cli/exit-codes.ts'
import { refusedRequest } from '../agent/kube/kube-errors.ts'
import { LEASE } from '../agent/lease/lease-api.ts'
import { redactText } from '../agent/redaction.ts'

const JWT = `eyJhbGciOiJSUzI1NiJ9.${'x'.repeat(20)}.y`

describe('a secret is removed from a text', () => {
  for (const [text, left] of [
    [`Authorization: Bearer ${JWT}`, 'Authorization: Bearer [redacted]'],
    [`the token ${JWT} has expired`, 'the token [redacted] has expired'],
    ['Basic dXNlcjpwYXNz was sent', 'Basic [redacted] was sent'],
    ['Get "https://me:pa/ss@api:6443/x": EOF', 'Get "https://[redacted]@api:6443/x": EOF'],
    ['redis://:pw@redis is down', 'redis://[redacted]@redis is down'],
    ['GET /hook?token=abc&a=1 failed', 'GET /hook?token=[redacted]&a=1 failed'],
    ['GET /hook?a=1&x-api-key=abc', 'GET /hook?a=1&x-api-key=[redacted]'],
    [
      `langflow-leader/members: '{"key":"${'k'.repeat(32)}","maxMs":1}'`,
      `langflow-leader/members: '{"key":"[redacted]","maxMs":1}'`,
    ],
    [
      JSON.stringify({ 'langflow-leader/members': JSON.stringify({ key: 'k'.repeat(32) }) }),
      JSON.stringify({ 'langflow-leader/members': JSON.stringify({ key: '[redacted]' }) }),
    ],
    [logOfMembers('k'.repeat(32)), logOfMembers('[redacted]')],
    ['host=db password=abc user=me', 'host=db password=[redacted] user=me'],
  ] as const)
    test(text, () => assert.equal(redactText(text), left))

  test('of the API server, before it is an error message, and from the error of a command', () => {
    const target = { verb: 'update', kind: LEASE, name: 'x', namespace: 'n' } as const
    const of = { ...target, server: 'https://api', source: 'a kubeconfig' }
    const message = `webhook "w": https://me:${'pw'.repeat(300)}@hook/?token=abc answered ${JWT}`
    for (const status of [400, 403, 500]) {
      const error = refusedRequest(of, status, { message })
      assert.match(error.message, /https:\/\/\[redacted\]@hook/)
      assert.doesNotMatch(error.message, /pwpw|abc|eyJ/)
    }
    assert.equal(new OperationError('failed', 'http://a:b@c is down').message, 'http://[redacted]@c is down')
  })

  test('and nothing else is', () => {
    for (const text of [
      'no answer from https://10.0.0.1:6443/api?limit=100, as seen by me@example.com',
      'exit code=3, signal=SIGTERM; set --lease-name=x and LEADER_PEERS=a,b',
      'secrets "db" is forbidden: User "me" cannot get it',
    ])
      assert.equal(redactText(text), text)
  })

  test('in a time that grows with its length, for any text', () => {
    const run = new Script('redactText(text)')
    for (const piece of ['a.', 'https://', 'a://x@', '?key', 'token', 'langflow-leader/front ']) {
      const text = piece.repeat(400_000 / piece.length)
      // It takes milliseconds, but minutes if the time grows with the square of the length.
      assert.doesNotThrow(() => run.runInNewContext({ redactText, text }, { timeout: 60_000 }), piece)
    }
  })
})

/** A line of a log that quotes an answer with a Lease. */
function logOfMembers(key: string): string {
  const lease = JSON.stringify({ 'langflow-leader/members': JSON.stringify({ key }) })
  return JSON.stringify({ msg: `denied: ${lease}` })
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Lease } from '../../agent/lease/lease.ts'
import {
  isOfPod,
  lastDrillOf,
  pauseFault,
  pauseIsOver,
  pauseOf,
  podOf,
  requestOf,
} from '../../agent/lease/operator-annotations.ts'

const NOW = Date.parse('2026-01-02T03:00:00Z')

function noted(notes: Record<string, string>): Lease {
  const annotations = Object.entries(notes).map(([key, value]) => [`langflow-leader/${key}`, value])
  return { metadata: { annotations: Object.fromEntries(annotations) } }
}

test('a Lease is paused if its annotation is "true", until the time in the other annotation', () => {
  const pauses = (notes: Record<string, string>) => [
    pauseOf(noted(notes), NOW),
    pauseIsOver(noted(notes), NOW),
  ]
  const forGood = { until: null, reason: null }
  assert.deepEqual(pauses({}), [null, false])
  assert.deepEqual(pauses({ paused: 'false' }), [null, false])
  assert.deepEqual(pauses({ paused: 'true' }), [forGood, false])
  const later = '2026-01-02T03:00:00.001Z'
  assert.deepEqual(pauses({ paused: 'true', 'paused-until': later }), [{ ...forGood, until: later }, false])
  assert.deepEqual(pauses({ paused: 'true', 'paused-until': '2026-01-02T03:00:00Z' }), [null, true])
  assert.deepEqual(pauses({ paused: 'true', 'paused-until': 'tomorrow' }), [forGood, false])
  assert.deepEqual(pauses({ paused: 'true', 'pause-reason': 'upgrade' }), [
    { until: null, reason: 'upgrade' },
    false,
  ])
  assert.equal(pauseOf(null, NOW), null)
})

test('another value than "true" does not pause, and is reported with the remedy', () => {
  for (const fine of [{}, { paused: 'true' }, { paused: 'false' }] as Record<string, string>[])
    assert.equal(pauseFault(noted(fine)), null)
  assert.equal(pauseFault(null), null)
  for (const value of ['yes', 'True', '']) {
    assert.equal(pauseOf(noted({ paused: value }), NOW), null)
    assert.match(pauseFault(noted({ paused: value })) ?? '', new RegExp(`"${value}".*write exactly "true"`))
  }
})

test('a switchover is requested to a pod, or to any replica', () => {
  const to = (text: string) => requestOf(noted({ 'switchover-to': text }))?.to
  assert.equal(requestOf(noted({})), null)
  for (const nobody of ['', ' ']) assert.equal(to(nobody), '')
  assert.equal(to(' replica-a\n'), 'replica-a')
  assert.equal(to('*'), '*')
})

test('a failover goes before a switchover, and both before a restart', () => {
  const restart = { restart: '', 'request-reason': ' a leak ' }
  assert.deepEqual(requestOf(noted(restart)), { what: 'restart', to: '', reason: 'a leak', now: false })
  const both = { ...restart, 'switchover-to': 'a', 'request-now': 'true' }
  assert.deepEqual(requestOf(noted(both)), { what: 'switchover', to: 'a', reason: 'a leak', now: true })
  assert.deepEqual(requestOf(noted({ ...both, 'failover-to': '*', 'request-reason': ' ' })), {
    what: 'failover',
    to: '*',
    reason: null,
    now: true,
  })
})

test('an identity belongs to the pod whose name precedes its UID', () => {
  assert.ok(isOfPod('langflow-0_3f1c', 'langflow-0'))
  assert.ok(isOfPod('replica-a', 'replica-a'))
  assert.ok(!isOfPod('langflow-01_3f1c', 'langflow-0'))
  assert.equal(podOf('langflow-0_3f1c'), 'langflow-0')
  assert.equal(podOf('replica-a'), 'replica-a')
})

test('the last drill is read from its annotation, and an invalid one is ignored', () => {
  const at = '2026-01-02T03:00:00Z'
  assert.deepEqual(lastDrillOf(noted({ 'last-drill': `${at} missed` })), { at, result: 'missed' })
  for (const nonsense of ['', at, `${at} fine`, 'today ok'])
    assert.equal(lastDrillOf(noted({ 'last-drill': nonsense })), null)
})

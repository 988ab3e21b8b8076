import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { remedyFor } from '../../agent/replica/crash-policy.ts'

const LEASE_MS = 15_000
const hands = { onCrash: 'handover', leaseDurationMs: LEASE_MS } as const
const restarts = { onCrash: 'restart', leaseDurationMs: LEASE_MS } as const

describe('a LangFlow that failed', () => {
  test('is handed over where another replica is ready, or nobody knows', () => {
    for (const ready of [1, 3, null]) assert.equal(remedyFor(hands, LEASE_MS, ready), 'handover')
  })

  test('is restarted in place where no other replica is ready', () => {
    assert.equal(remedyFor(hands, LEASE_MS, 0), 'restart')
  })

  test('is always restarted in place with --on-crash=restart', () => {
    for (const ready of [0, 1, null]) assert.equal(remedyFor(restarts, LEASE_MS, ready), 'restart')
  })

  test('is handed over where it had not served for a lease duration, so that a crash loop backs off', () => {
    for (const options of [hands, restarts])
      for (const servedMs of [null, 0, LEASE_MS - 1])
        assert.equal(remedyFor(options, servedMs, 0), 'handover')
  })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gateChecks } from '../../agent/traffic/gate.ts'

const OPEN = {
  leads: true,
  standing: 'this replica leads',
  doubt: false,
  inability: null,
  closed: null,
  launcher: 'connected',
  workload: 'running',
  healthy: true,
  lastProbe: '/health: 200',
} as const

test('the gate is open where all of its conditions hold, and says why it is kept closed', () => {
  assert.ok(gateChecks(OPEN).every(({ ok }) => ok))
  const checks = gateChecks({ ...OPEN, closed: 'LangFlow lost its worker (pid 7)', workload: 'idle' })
  assert.deepEqual(checks.slice(-2), [
    { name: 'workload', ok: false, detail: 'idle' },
    { name: 'gate', ok: false, detail: 'closed: LangFlow lost its worker (pid 7)' },
  ])
})

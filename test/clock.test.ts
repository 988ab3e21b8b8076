import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { systemClock } from '../agent/clock.ts'

test('the boot clock is that of /proc/uptime, which also counts the sleep of a machine', () => {
  const uptimeMs = () => Number.parseFloat(readFileSync('/proc/uptime', 'latin1')) * 1000
  const before = uptimeMs()
  const { boot } = systemClock.now()
  assert.ok(before <= boot && boot <= uptimeMs(), String(boot))
})

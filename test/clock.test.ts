import assert from 'node:assert/strict'
import fs, { mkdtempSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '../agent/clock.ts'

test('a boot clock that is replaced while open is reopened, and one without a time is an error until it has a time', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'uptime-'))
  const uptime = join(dir, 'uptime')
  writeFileSync(uptime, '100.25 50.00\n')
  let opened = 0
  const open = openSync
  t.mock.method(fs, 'openSync', (path: string, flags: string) => {
    if (path === '/proc/uptime') opened++
    return open(path === '/proc/uptime' ? uptime : path, flags)
  })
  syncBuiltinESMExports()
  t.after(() => {
    t.mock.restoreAll()
    syncBuiltinESMExports()
    rmSync(dir, { recursive: true })
  })
  const bootMs = () => systemClock.now().boot
  assert.deepEqual([bootMs(), bootMs(), opened], [100_250, 100_250, 1])

  const before = open(uptime, 'r+')
  writeFileSync(join(dir, 'next'), '7.50 3.00\n')
  renameSync(join(dir, 'next'), uptime)
  writeSync(before, 'gone')
  assert.deepEqual([bootMs(), opened], [7_500, 2])

  writeFileSync(uptime, 'no number')
  assert.throws(bootMs, /^Error: \/proc\/uptime contains no time$/)
  writeFileSync(uptime, '8.00 3.00\n')
  assert.equal(bootMs(), 8_000)
})

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import type { LeaseApi } from '../../agent/lease/lease-api.ts'
import { LauncherKeys } from '../../agent/link/keys.ts'
import { createLog } from '../../agent/observe/log.ts'
import type { Metrics } from '../../agent/observe/metrics.ts'
import { Replica } from '../../agent/replica/replica.ts'
import { connectSupervisor } from '../../agent/supervisor/connect.ts'
import type { Wanted } from '../../agent/traffic/traffic.ts'
import { parse } from '../config/commands.ts'
import { heldBy } from '../election/candidate.ts'
import { settled } from '../support/virtual-clock.ts'

/** A Lease that somebody else holds for good. */
const TAKEN: LeaseApi = {
  read: async () => heldBy('other', 1),
  update: () => assert.fail('the Lease is not ours'),
  rehearse: async () => {},
  create: () => assert.fail('the Lease is there'),
  watch: async () => ({ close: () => {} }),
  close: () => {},
}

const ignore = () => {}
const UNCOUNTED: Metrics = {
  leading: ignore,
  slowPath: ignore,
  renewal: ignore,
  transition: ignore,
  restarted: ignore,
  takeover: ignore,
  stopped: ignore,
  apiRequest: ignore,
}

test('an agent ends only once the API server leads no traffic to it any more', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'replica-end-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const flags = ['--listen=127.0.0.1:0', `--socket=${join(dir, 'socket')}`, `--state-dir=${dir}`]
  const { agent: options } = await parse(['agent', '--identity=me', ...flags])
  assert.ok(options)
  const keys = new LauncherKeys(options.stateDir, systemClock, options.leaseDurationMs)
  const machine = { clock: systemClock, portFree: async () => true, connections: () => [] }
  const acknowledged = Promise.withResolvers<void>()
  const wanted: Wanted[] = []
  let closed = false
  const replica = new Replica({
    options,
    namespace: 'team',
    api: TAKEN,
    traffic: () => ({
      view: { routedTo: null, problem: null },
      isSettled: false,
      want: (now) => wanted.push(now),
      settled: () => acknowledged.promise,
      close: () => {
        closed = true
      },
    }),
    supervisor: (wiring) => connectSupervisor({ options, machine, keys, ...wiring }),
    peers: null,
    podAgeMs: () => null,
    serverVersion: async () => null,
    http: async () => ({ port: 0, close: async () => {} }),
    clock: systemClock,
    log: createLog({ component: 'agent', level: 'silent', identity: 'me' }),
    metrics: UNCOUNTED,
    salt: 0,
  })
  await replica.start()
  let code: number | null = null
  const end = replica.end().then((its) => {
    code = its
  })
  replica.terminate('SIGTERM')
  await settled()
  assert.deepEqual(wanted.at(-1), { gate: 'closed', epoch: null })
  assert.deepEqual([code, closed], [null, false])
  acknowledged.resolve()
  await end
  assert.deepEqual([code, closed], [0, true])
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LauncherAbsence } from '../../agent/replica/launcher-absence.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

function startAbsence() {
  const clock = new VirtualClock()
  let changes = 0
  const socket = '/run/langflow-leader/launcher.sock'
  const absence = new LauncherAbsence({ clock, socket, changed: () => void changes++ })
  absence.start()
  return { clock, absence, changes: () => changes }
}

test('a launcher that has not connected after a minute is a problem, until it does', async () => {
  const { clock, absence, changes } = startAbsence()
  await clock.pass(59_999)
  assert.equal(absence.problem, null)
  await clock.pass(1)
  assert.match(absence.problem ?? '', /launch --.* \/run\/langflow-leader here/)
  absence.connected()
  assert.deepEqual([absence.problem, changes()], [null, 2])
})

test('a launcher that has connected once is never absent', async () => {
  const { clock, absence, changes } = startAbsence()
  absence.connected()
  await clock.pass(60_000)
  assert.deepEqual([absence.problem, changes()], [null, 0])
})

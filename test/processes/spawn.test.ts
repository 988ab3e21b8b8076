import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { test } from 'node:test'
import { deprioritize } from '../../agent/processes/spawn.ts'

const own = () => Number(readFileSync('/proc/self/oom_score_adj', 'latin1'))

test('deprioritize covers all threads of a process, its children, and later ones', async (t) => {
  const script = `
    const { spawn } = require('node:child_process')
    const fork = () => console.log(spawn('sleep', ['60']).pid)
    process.stdin.on('data', fork)
    fork()`
  const child = spawn(process.execPath, ['-e', script], {
    detached: true,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.after(() => process.kill(-(child.pid as number), 'SIGKILL'))
  const forked = async () => Number((await once(child.stdout, 'data'))[0])
  const before = await forked()
  deprioritize(child.pid as number)
  child.stdin.write('another\n')
  for (const pid of [child.pid as number, before, await forked()]) {
    assert.equal(Number(readFileSync(`/proc/${pid}/oom_score_adj`, 'latin1')), Math.min(1000, own() + 100))
    for (const thread of readdirSync(`/proc/${pid}/task`))
      assert.equal(getPriority(Number(thread)), Math.min(19, getPriority() + 5))
  }
})

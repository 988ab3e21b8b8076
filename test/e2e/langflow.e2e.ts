import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { carries, readProcesses } from '../../agent/workload/proc.ts'
import { freePort } from '../support/free-port.ts'
import { BUNDLE, Replica } from '../support/replica.ts'
import { type ControlPlane, startControlPlane } from './control-plane.ts'
import { deployRights } from './deploy-rights.ts'
import { LANGFLOW_MISSING, langflowBinary, langflowEnvironment, runEcho, writeEchoFlow } from './langflow.ts'

let plane: ControlPlane
let dir: string

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'langflow-e2e-'))
  plane = await startControlPlane()
})

after(async () => {
  await plane?.close()
  rmSync(dir, { recursive: true, force: true })
})

test('a real LangFlow behind a real API server gives the same answer before and after a takeover', async (t) => {
  const binary = langflowBinary()
  if (binary === undefined) {
    t.diagnostic(`SKIPPED: ${LANGFLOW_MISSING}`)
    t.skip(LANGFLOW_MISSING)
    return
  }
  const namespace = await plane.newNamespace()
  const kubeconfig = await deployRights(plane, namespace)
  const flows = writeEchoFlow(binary, join(dir, 'flows'))
  const start = async (identity: string) => {
    const port = await freePort()
    return Replica.start({
      identity,
      kubeconfig,
      namespace,
      port,
      beats: join(dir, 'unused'),
      main: BUNDLE,
      flags: ['--stop-timeout=60s'],
      command: [binary, 'run', '--backend-only'],
      env: langflowEnvironment(join(dir, identity), port, flows),
    })
  }
  const a = await start('a')
  const b = await start('b')
  try {
    const leader = await Promise.any(
      [a, b].map(async (replica) => (await replica.event('serving')) && replica),
    )
    const standby = leader === a ? b : a
    assert.equal((await leader.get('/readyz')).status, 200)
    assert.equal((await standby.get('/readyz')).status, 503)
    assert.equal((await standby.get('/readyz?exclude=leadership')).status, 200)
    assert.equal(await runEcho(leader.port, 'what is left of it?'), 'what is left of it?')

    const environ = readFileSync(`/proc/${leader.workloadPid()}/environ`, 'utf8').split('\0')
    assert.ok(environ.includes('LEADER_EPOCH=1'))
    assert.ok(environ.includes(`LEADER_IDENTITY=${leader.name}`))

    leader.signal('SIGTERM')
    const acquired = await standby.event('acquired')
    const released = await leader.event('released')
    assert.ok(Date.parse(acquired.time) - Date.parse(released.time) < 1_000)
    const mark = environ.find((variable) => variable.startsWith('LANGFLOW_LEADER_TREE=')) as string
    const left = [...readProcesses().keys()].filter((pid) => carries(pid, Buffer.from(`${mark}\0`)) === 'yes')
    assert.deepEqual(left, [], 'processes of the old LangFlow live on')
    assert.deepEqual(await leader.exited, { code: 0, signal: null })

    await standby.event('serving')
    assert.equal(acquired.epoch, 2)
    assert.equal(await runEcho(standby.port, 'what is left of it?'), 'what is left of it?')
  } finally {
    await Promise.all([a.stop(), b.stop()])
  }
})

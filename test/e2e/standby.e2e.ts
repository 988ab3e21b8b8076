import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { freePort } from '../support/free-port.ts'
import { BUNDLE, Replica } from '../support/replica.ts'
import { type ControlPlane, startControlPlane } from './control-plane.ts'
import { deployRights } from './deploy-rights.ts'
import { LANGFLOW_MISSING, langflowBinary, langflowEnvironment, runEcho, writeEchoFlow } from './langflow.ts'

let plane: ControlPlane
let dir: string

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'standby-e2e-'))
  plane = await startControlPlane()
})

after(async () => {
  await plane?.close()
  rmSync(dir, { recursive: true, force: true })
})

test('a prewarmed LangFlow is imported before its term, and touches nothing until then', async (t) => {
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
      flags: ['--standby=prewarmed', '--stop-timeout=60s'],
      command: ['sh', '-c', `exec ${binary} run --backend-only --port ${port}`],
      env: langflowEnvironment(join(dir, identity), port, flows),
    })
  }
  const a = await start('a')
  try {
    await a.event('serving')
    const b = await start('b')
    try {
      const ready = await b.event('standby_ready')
      assert.equal(ready.mode, 'prewarmed')
      const { standby } = await b.status()
      assert.equal(standby.state, 'ready')
      t.diagnostic(`a prewarmed standby holds ${Math.round((standby.memoryBytes ?? 0) / 1e6)} MB`)
      assert.deepEqual(readdirSync(join(dir, 'b')), [], 'nothing of LangFlow was written before the grant')
      a.signal('SIGTERM')
      const released = await a.event('released')
      const serving = await b.event('serving')
      const ms = Date.parse(serving.time) - Date.parse(released.time)
      t.diagnostic(`from the release to the next one that serves: ${ms} ms`)
      assert.equal(await runEcho(b.port, 'what is left of it?'), 'what is left of it?')
      const environ = readFileSync(`/proc/${b.workloadPid()}/environ`, 'utf8')
      assert.match(environ, /LANGFLOW_LEADER_TREE=/)
    } finally {
      await b.stop()
    }
  } finally {
    await a.stop()
  }
})

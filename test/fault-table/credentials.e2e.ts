import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from 'node:test'
import { ACCOUNT } from '../harness/control-plane.ts'
import { faultTests, plain } from './scene.ts'

/** The second one is started again with another certificate. */
const [expires, changes] = [faultTests(), faultTests()]

describe('credentials', { concurrency: 2 }, () => {
  expires('the token expires', async (scene) => {
    const { namespace } = scene
    const tokenFile = join(scene.dir, 'token')
    scene.tokenFile = tokenFile
    writeFileSync(tokenFile, await scene.plane.expiringToken(namespace, ACCOUNT, 10))
    const [a, b] = await scene.pods()
    const warning = await a.agent.find('a refusal', ({ level, msg }) => level === 'warn' && /401/.test(msg))
    const from = a.agent.lines.indexOf(warning)
    writeFileSync(tokenFile, await scene.plane.serviceAccountToken(namespace, ACCOUNT))
    const back = await a.agent.find('its end', ({ msg }) => /can be reached again/.test(msg), from)
    scene.assertUndisturbed(a, b)
    return `“${plain(warning.msg)}”; renewed again ${Date.parse(back.time) - Date.parse(warning.time)} ms later`
  })

  changes('the certificate authority changes', async (scene) => {
    const [a, b] = await scene.pods()
    const from = a.agent.lines.length
    await scene.plane.stopApiServer()
    await scene.plane.startApiServer({ newCertificate: true })
    await a.agent.find('its end', ({ msg }) => /can be reached again/.test(msg), from)
    await b.watching()
    assert.ok(!a.agent.events().includes('lost') && !b.agent.events().includes('acquired'))
    assert.equal(scene.processes('a').size, 1)
    a.agent.signal('SIGTERM')
    await b.agent.event('serving')
    return 'the same process and term went on; then a clean handover'
  })
})

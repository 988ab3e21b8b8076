import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe } from 'node:test'
import { type ControlPlane, startControlPlane } from '../e2e/control-plane.ts'
import { ACCOUNT } from '../e2e/deploy-rights.ts'
import { faultTest, plain } from './scene.ts'

/** The second one is started again with another certificate. */
const planes: ControlPlane[] = []

before(async () => {
  for (let n = 0; n < 2; n++) planes.push(await startControlPlane())
})

after(() => Promise.all(planes.map((plane) => plane.close())))

const plane = (n: number) => () => planes[n] ?? assert.fail()

describe('credentials', { concurrency: 2 }, () => {
  faultTest('the token expires', plane(0), async (scene) => {
    const { namespace } = scene
    const tokenFile = join(scene.dir, 'token')
    scene.tokenFile = tokenFile
    writeFileSync(tokenFile, await scene.plane.expiringToken(namespace, ACCOUNT, 10))
    const [a, b] = await scene.pair()
    const warning = await a.agent.find('a refusal', ({ level, msg }) => level === 'warn' && /401/.test(msg))
    const from = a.agent.lines.indexOf(warning)
    writeFileSync(tokenFile, await scene.plane.serviceAccountToken(namespace, ACCOUNT))
    const back = await a.agent.find('its end', ({ msg }) => /can be reached again/.test(msg), from)
    assert.ok(!a.agent.events().includes('doubt') && !b.agent.events().includes('acquired'))
    assert.equal(new Set(scene.beats('a').map(({ pid }) => pid)).size, 1)
    return `“${plain(warning.msg)}”; renewed again ${Date.parse(back.time) - Date.parse(warning.time)} ms later`
  })

  faultTest('the certificate authority changes', plane(1), async (scene) => {
    const [a, b] = await scene.pair()
    const from = a.agent.lines.length
    await scene.plane.stopApiServer()
    await scene.plane.startApiServer({ newCertificate: true })
    await a.agent.find('its end', ({ msg }) => /can be reached again/.test(msg), from)
    await b.watching()
    assert.ok(!a.agent.events().includes('lost') && !b.agent.events().includes('acquired'))
    assert.equal(new Set(scene.beats('a').map(({ pid }) => pid)).size, 1)
    a.agent.signal('SIGTERM')
    await b.agent.event('serving')
    return 'the same process and term went on; then a clean handover'
  })
})

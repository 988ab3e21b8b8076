import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../harness/free-port.ts'
import type { Pod } from '../harness/pod.ts'
import { ask, askStatus, type ReplicaOptions } from '../harness/replica.ts'
import { mono, until } from '../harness/wait.ts'
import { warmLangflow } from '../harness/warm-langflow.ts'
import { atMost, type FaultScene, faultTests, LEASE_MS, type LinkedPod, seconds } from './scene.ts'

const { fault } = faultTests()

/** The `problem` in `/status` if it isn't the reason itself: errors from the API server come first. */
const PROBLEMS: Record<string, RegExp> = {
  'no egress': /^no connection to the API server/,
  'another namespace': /may not "(get|watch)"/,
}
/** A little longer than two rounds in which a leader asks its peers. */
const ASKED_TWICE_MS = 11_000
/** Delay of every answer to the prepared follower. Unless prepared standbys have precedence, it comes second. */
const BEHIND_MS = 300

/** Makes a ServiceAccount with these rights to the Lease, and returns a token of it. */
async function tokenFor(scene: FaultScene, account: string, verbs: string[]): Promise<string> {
  await scene.kubectl('create', 'serviceaccount', account)
  if (verbs.length > 0) {
    const list = verbs.map((verb) => `--verb=${verb}`)
    await scene.kubectl('create', 'role', account, ...list, '--resource=leases.coordination.k8s.io')
    const subject = `--serviceaccount=${scene.namespace}:${account}`
    await scene.kubectl('create', 'rolebinding', account, `--role=${account}`, subject)
  }
  return scene.plane.serviceAccountToken(scene.namespace, account)
}

/** Starts a prepared follower that receives everything later than others do. */
async function prepared(scene: FaultScene, identity: string, more: Partial<ReplicaOptions>) {
  const pod = await scene.follower(identity, more)
  pod.link.flow({ toClient: { delayMs: BEHIND_MS } })
  return pod
}

async function unprepared(scene: FaultScene, identity: string): Promise<Pod> {
  const pod = await scene.pod(identity, warmLangflow(scene.dir, { hangs: true }))
  await pod.agent.event('campaigning')
  await pod.watching()
  await pod.agent.find('its launcher', ({ msg }) => /launcher connected/.test(msg))
  await scene.nextRecord()
  return pod
}

const HURRIED = { flags: ['--stop-timeout=3s', '--drain-timeout=1s'] }

async function handedOver(leader: Pod, why: RegExp): Promise<void> {
  const { reason } = await leader.agent.event('draining')
  assert.match(String(reason), why)
}

/** Hangs the LangFlow of a pair in this way. Resolves to the time until its handover begins. */
async function hung(
  scene: FaultScene,
  why: RegExp,
  hang: (leader: LinkedPod, pid: number) => unknown,
): Promise<number> {
  const [a, b] = await scene.pods(HURRIED)
  const { pid } = scene.beats('a').at(-1) ?? assert.fail()
  const began = mono()
  await hang(a, pid)
  await handedOver(a, why)
  const took = mono() - began
  await b.agent.event('serving')
  await a.stop()
  await b.stop()
  return took
}

const stops = (leader: LinkedPod, pid: number) => process.kill(leader.hostPid(pid), 'SIGSTOP')

describe('readiness', { concurrency: 3 }, () => {
  fault('a replica of a newer revision cannot lead', async (scene) => {
    const port = await freePort()
    const revision = (hash: string) => ({ POD_TEMPLATE_HASH: hash })
    const a = await scene.leader('a', { flags: [`--peers=localhost:${port}`], env: revision('old') })
    const flags = [`--listen=127.0.0.1:${port}`]
    const nobody = await tokenFor(scene, 'nobody', [])
    const reader = await tokenFor(scene, 'reader', ['get', 'watch', 'list'])
    const namespace = await scene.plane.newNamespace()
    const elsewhere = { flags: [...flags, `--peers=localhost:${a.httpPort}`], namespace }
    const tries: [what: string, reason: RegExp, token?: string | undefined, options?: object][] = [
      ['wrong token', /401 Unauthorized/, 'wrong'],
      ['no rights', /may not "get"/, nobody],
      ['rights to read only', /may not "update"/, reader],
      ['no egress', /has not seen the Lease yet/],
      ['another namespace', /holds the Lease "test-/, undefined, elsewhere],
    ]
    const tried: string[] = []
    for (const [what, reason, token, options = { flags }] of tries) {
      if (token !== undefined) writeFileSync(join(scene.dir, what), token)
      scene.tokenFile = token === undefined ? undefined : join(scene.dir, what)
      const b = await scene.pod('b', { ...options, env: revision('new') }, (link) =>
        what === 'no egress' ? link.partition() : undefined,
      )
      await b.agent.event('campaigning')
      // The leader doesn't count a replica that competes for another Lease.
      if (what !== 'another namespace')
        await until(`a sees its peer b, ${what}`, async () => (await a.status()).peers?.seen === 1)
      await until(`b reports the reason, ${what}`, async () =>
        reason.test((await ask(port, '/readyz?exclude=leadership&verbose')).text),
      )
      await sleep(ASKED_TWICE_MS)
      const { status, text } = await ask(port, '/readyz?exclude=leadership&verbose')
      assert.equal(status, 503, what)
      assert.match(text, reason)
      const { couldTakeOver, problem } = await askStatus(port)
      assert.equal(couldTakeOver, false)
      assert.match(problem ?? '', PROBLEMS[what] ?? reason)
      assert.equal((await a.get('/readyz')).status, 200)
      tried.push(what)
      await b.stop()
    }
    assert.ok(!a.agent.events().includes('draining'))
    assert.equal(scene.watch.last().epoch, 1)
    return `not Ready with ${tried.join(', ')}`
  })

  fault('a handover, with one prepared standby and one that hangs', async (scene) => {
    const warm = warmLangflow(scene.dir)
    const a = await scene.leader('a', warm)
    await unprepared(scene, 'c')
    const b = await prepared(scene, 'b', warm)
    a.agent.signal('SIGTERM')
    const released = await scene.released()
    const taken = await scene.watch.next('the next holder', ({ holder }) => holder !== '', released.index)
    assert.equal(taken.holder, 'b')
    await b.agent.event('serving')
    return `handover ${seconds(taken.at - released.at)}, although the release was seen ${BEHIND_MS} ms late`
  })

  fault('a crash, with one prepared standby and one that hangs', async (scene) => {
    const warm = warmLangflow(scene.dir)
    const a = await scene.leader('a', warm)
    await unprepared(scene, 'c')
    const b = await prepared(scene, 'b', warm)
    a.kill()
    const taken = await scene.watch.next('the next holder', ({ holder }) => holder !== 'a', 1)
    assert.equal(taken.holder, 'b')
    const waited = taken.at - scene.recordBefore(taken).at
    atMost(waited, LEASE_MS + 2 * BEHIND_MS + 300)
    await b.agent.event('serving')
    return `next holder ${seconds(waited)}, although the renewal was seen ${BEHIND_MS} ms late`
  })

  fault('LangFlow computes and answers nothing for 15 s', async (scene) => {
    const [a, b] = await scene.pods()
    const began = mono()
    const answer = ask(a.port, '/spin=15000')
    const busy = async () => (await a.status()).workload.busy
    await until('LangFlow is busy', async () => (await busy()) !== null)
    const found = mono() - began
    assert.equal((await a.get('/readyz')).status, 200)
    assert.match((await a.status()).problem ?? '', /^LangFlow is busy: /)
    assert.equal((await answer).status, 200)
    await until('LangFlow is no longer busy', async () => (await busy()) === null)
    scene.assertUndisturbed(a, b)
    return `undisturbed; busy after ${seconds(found)}`
  })

  fault('LangFlow computes and never answers again', async (scene) => {
    const [a, b] = await scene.pods(HURRIED)
    const began = mono()
    ask(a.port, '/spin=Infinity').catch(() => {})
    await handedOver(a, /busy-timeout/)
    const took = mono() - began
    assert.ok(took > 30_000, `it began after ${took} ms`)
    atMost(took, 35_000)
    await b.agent.event('serving')
    return `began ${seconds(took)} after the first instruction of the loop`
  })

  fault('LangFlow hangs without computing', async (scene) => {
    const why = /no answer within 2 s \(3 times/
    const blocks = ({ port }: LinkedPod) => void ask(port, '/block=Infinity').catch(() => {})
    const took = [await hung(scene, why, blocks), await hung(scene, why, stops)]
    atMost(Math.max(...took), 11_000)
    return `began ${took.map(seconds).join(' and ')} after the hang`
  })

  fault('the agent restarts while LangFlow hangs', async (scene) => {
    const why = /^LangFlow is unhealthy: /
    const without = await hung(scene, why, stops)
    const withIt = await hung(scene, why, async (a, pid) => {
      stops(a, pid)
      a.agent.signal('SIGKILL')
      await a.agent.exited
      a.startAgent()
    })
    atMost(withIt, without + 5_000)
    return `began ${seconds(withIt)} after the hang; without the restart ${seconds(without)}`
  })
})

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, type TestContext, test } from 'node:test'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { FrontScene } from '../harness/front-scene.ts'
import { podObstacle } from '../harness/pod.ts'
import { readOrEmpty } from '../harness/processes.ts'
import { ask, type Replica, type ReplicaOptions } from '../harness/replica.ts'
import { mono, until } from '../harness/wait.ts'
import { warmLangflow } from '../harness/warm-langflow.ts'

const plane = await startControlPlane()
after(() => plane.close())

const CANARY = 'cAnArY-7719'
const SECRET_KEY = 'ZTJlIHNlY3JldCBrZXkgdGhhdCBldmVyeSBvbmUgaGE='
const TOKEN = 'a token that is changed'

const HANGING = ['python3', join(import.meta.dirname, '../harness/faults/hanging-volume.py')]

function volumeObstacle(): string | false {
  const [python = '', ...args] = HANGING
  const { status, stderr } = spawnSync('unshare', ['--mount', python, ...args, tmpdir(), 'true'])
  return status === 0 ? false : `cannot mount a volume: ${stderr}`
}

/** Replicas that watch one directory. */
class ContentScene extends FrontScene {
  readonly flows = join(this.dir, 'flows')
  readonly envFile = join(this.dir, 'langflow.env')

  static async watching(t: TestContext, plane: ControlPlane): Promise<ContentScene> {
    const scene = await ContentScene.open(plane, t)
    mkdirSync(scene.flows)
    scene.write('a.json', { name: 'first' })
    writeFileSync(scene.envFile, `LANGFLOW_SECRET_KEY=${SECRET_KEY}\nTOKEN="${TOKEN} 1"\n`)
    await scene.choosePorts('a', 'b')
    return scene
  }

  write(name: string, flow: object | string): void {
    const text = typeof flow === 'string' ? flow : JSON.stringify(flow)
    writeFileSync(join(this.flows, name), text)
  }

  protected override prepare(name: string, { env, ...more }: Partial<ReplicaOptions>) {
    const content = {
      LEADER_HANDOVER_ON_CHANGE: this.flows,
      LEADER_ENV_FILE: this.envFile,
      LANGFLOW_LOAD_FLOWS_PATH: this.flows,
    }
    return super.prepare(name, { ...more, env: { ...content, ...env } })
  }

  content = async (name: string) => (await this.status(name)).content
}

/** LangFlow may be restarted for its content two lease durations after its start. */
const APART_MS = 8_000

describe('changed content', { concurrency: 3 }, () => {
  test('is served by the prepared standby without a failed request; invalid content changes nothing', async (t) => {
    const scene = await ContentScene.watching(t, plane)
    const warm = warmLangflow(scene.dir)
    const a = await scene.replica('a', warm)
    await a.event('serving')
    const since = mono()
    const b = await scene.replica('b', warm)
    assert.equal((await b.event('standby_ready')).mode, 'warm')
    await scene.admitClients('a', 'b')
    await until('the time after a start', () => mono() > since + APART_MS)

    scene.write('b.json', '{"name": ')
    await until('a problem', async () => (await scene.status('a')).problem !== null)
    await until('a follower that could not take over', async () => !(await scene.status('b')).couldTakeOver)
    assert.match((await a.get('/metrics')).text, /^langflow_leader_content_refused 1$/m)
    const events = async () => (await scene.kubectl('get', 'events', '-o', 'json')).stdout
    await until('the Event of the refusal', async () => (await events()).includes('ContentRefused'))

    const changedAt = mono()
    scene.write('b.json', { name: 'second' })
    const stepped = await a.event('stepped_down')
    assert.equal(stepped.code, 'content_changed')
    await b.event('serving')
    t.diagnostic(`from the change to serving: ${Math.round(mono() - changedAt)} ms`)
    const served = await scene.content('b')
    assert.equal(served?.running, served?.digest)
    assert.equal((await scene.content('a'))?.digest, served?.digest)
    await scene.answers(1, 'b')
    assert.deepEqual((await scene.outcome()).failed, [])
    assert.ok(!a.events().includes('lost') && !a.events().includes('doubt'))
  })

  test('is served after a restart in place, in the same term, if no other replica is prepared', async (t) => {
    const scene = await ContentScene.watching(t, plane)
    const a = await scene.replica('a')
    await a.event('serving')
    const first = a.workloadPid()
    // As git-sync swaps a checkout.
    rmSync(scene.flows, { recursive: true })
    mkdirSync(join(scene.dir, 'checkout'))
    writeFileSync(join(scene.dir, 'checkout/a.json'), JSON.stringify({ name: 'second' }))
    symlinkSync('checkout', join(scene.dir, 'new'))
    renameSync(join(scene.dir, 'new'), scene.flows)
    const from = a.lines.length
    await a.find('the restart', ({ code }) => code === 'content_changed', from)
    await a.event('serving', from)
    assert.notEqual(a.workloadPid(), first)
    const { content, lease } = await scene.status('a')
    assert.deepEqual([content?.running, lease.epoch], [content?.digest, 1])
    assert.deepEqual(a.events().slice(-4), ['draining', 'workload_stopped', 'workload_started', 'serving'])
  })

  test('of a volume that does not answer blocks neither LangFlow’s start nor the launcher’s end', {
    skip: podObstacle() ?? volumeObstacle(),
    timeout: 60_000,
  }, async (t) => {
    const scene = await ContentScene.watching(t, plane)
    const volume = join(scene.dir, 'volume')
    mkdirSync(volume)
    const env = { LEADER_HANDOVER_ON_CHANGE: join(volume, 'flows'), LANGFLOW_LOAD_FLOWS_PATH: '' }
    const a = await scene.pod('a', { entry: [...HANGING, volume], env })
    await a.agent.event('serving')
    process.kill(a.launcherPid(), 'SIGTERM')
    assert.deepEqual(await a.container.exited, { code: 0, signal: null })
  })

  test('in an env file reaches LangFlow, and appears in no output, valid or not', async (t) => {
    const scene = await ContentScene.watching(t, plane)
    const put = (text: string) => writeFileSync(scene.envFile, text)
    put(`TOKEN=${CANARY}\nLANGFLOW_SECRET_KEY=${SECRET_KEY}\n`)
    const a = await scene.replica('a', { env: { TOKEN: 'container' } })
    await a.event('serving')
    assert.ok(environOf(a).includes(`TOKEN=${CANARY}`))
    const b = await scene.replica('b', warmLangflow(scene.dir))
    await b.event('standby_ready')
    const seen: string[] = []
    const look = async () => {
      for (const path of ['/status', '/metrics', '/', '/leader', '/readyz?verbose', '/frontz'])
        for (const port of scene.peers) seen.push((await ask(port, path)).text)
      seen.push((await scene.kubectl('get', 'lease,events', '-o', 'yaml')).stdout)
      for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
        for (const file of ['cmdline', 'comm', 'stat']) seen.push(readOrEmpty(`/proc/${pid}/${file}`))
    }
    await look()
    const problem = async (pattern: RegExp) =>
      until(String(pattern), async () => pattern.test((await scene.status('a')).problem ?? ''))
    put(`TOKEN=${CANARY}\n"${CANARY}\n`)
    await problem(/langflow\.env cannot be read: error in line 2/)
    await look()
    put(`TOKEN=${CANARY}\0`)
    await problem(/error in line 1/)
    await look()
    rmSync(scene.envFile)
    await problem(/cannot be read: (?!error)/)
    await look()
    put(`LANGFLOW_SECRET_KEY=${SECRET_KEY}\nTOKEN="${CANARY}\ntwo"\n`)
    assert.equal((await a.event('stepped_down')).code, 'content_changed')
    await b.event('serving')
    const { running, digest } = (await scene.content('b')) ?? {}
    assert.equal(running, digest)
    assert.ok(environOf(b).includes(`TOKEN=${CANARY}\ntwo`), 'the standby was prepared anew')
    await look()
    assert.equal(await filterOf(a), '00000000', 'a core dump would contain its memory')
    for (const replica of [a, b]) seen.push(...replica.output)
    const leaks = seen.filter((text) => text.includes(CANARY) || text.includes(SECRET_KEY))
    assert.deepEqual(
      leaks.map((text) => text.slice(0, 300)),
      [],
    )
    assert.ok(seen.some((text) => text.includes('langflow.env')))
  })
})

function environOf(replica: Replica): string[] {
  return readFileSync(`/proc/${replica.workloadPid()}/environ`, 'utf8').split('\0')
}

/** What a core dump of its launcher would contain. */
async function filterOf(replica: Replica): Promise<string> {
  return readFileSync(`/proc/${replica.launcherPid()}/coredump_filter`, 'utf8').trim()
}

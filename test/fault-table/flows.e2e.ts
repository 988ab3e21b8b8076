import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { after, before, describe } from 'node:test'
import { readProcesses } from '../../agent/processes/proc.ts'
import { type ControlPlane, startControlPlane } from '../e2e/control-plane.ts'
import { AS_LANGFLOW, BESIEGE, installPrograms } from '../hostile/siege.ts'
import type { Pod } from '../support/pod.ts'
import type { ReplicaOptions } from '../support/replica.ts'
import { mono } from '../support/stage.ts'
import { warmLangflow } from '../support/warm-langflow.ts'
import { faultTest, type Linked, type Scene, seconds } from './scene.ts'

let plane: ControlPlane

before(async () => {
  plane = await startControlPlane()
})

after(() => plane?.close())

type Outcomes = Readonly<Record<string, string>>

/** What a process of LangFlow's user does in its container to the process that has this pid there. */
async function besiege(pod: Linked<Pod>, pid: number): Promise<Outcomes> {
  const where = ['--target', String(pod.launcherPid()), '--pid', '--mount']
  const command = [...where, ...AS_LANGFLOW, '/usr/bin/python3', BESIEGE, String(pid)]
  const attack = spawn('nsenter', command, { stdio: ['ignore', 'pipe', 'inherit'] })
  return JSON.parse(await text(attack.stdout)) as Outcomes
}

async function pair(scene: Scene, prepared: boolean): Promise<[leader: Linked<Pod>, follower: Linked<Pod>]> {
  const options: Partial<ReplicaOptions> = {
    ...(prepared ? warmLangflow(scene.dir, { kind: 'tree' }) : {}),
    programs: installPrograms(scene.dir),
    entry: AS_LANGFLOW,
  }
  chmodSync(scene.dir, 0o777)
  const a = await scene.pod('a', options)
  await a.agent.event('serving')
  const b = await scene.follower('b', options)
  if (prepared) assert.equal((await b.agent.event('standby_ready')).mode, 'warm')
  return [a, b]
}

describe('a flow', { concurrency: 2 }, () => {
  for (const prepared of [false, true]) {
    const also = prepared ? ', and the standby is prepared' : ''
    faultTest(
      `a flow attacks its launcher${also}` as const,
      () => plane,
      async (scene) => {
        const [a, b] = await pair(scene, prepared)
        const pids = new Set(scene.beats('a').map(({ pid }) => pid))
        const { debugger: answer, state, ...outcomes } = await besiege(a, 1)
        assert.deepEqual([answer, /^[RS]$/.test(state ?? '')], ['ECONNREFUSED', true])
        const attempts = Object.entries(outcomes).filter(([what]) => !what.startsWith('kill '))
        for (const [what, outcome] of attempts) assert.match(outcome, /^E(ACCES|PERM)$/, what)
        await scene.watch.next('the next but one renewal', () => true, scene.watch.length + 1)
        assert.deepEqual(new Set(scene.beats('a').map(({ pid }) => pid)), pids)
        assert.ok(!a.agent.events().includes('doubt') && !b.agent.events().includes('acquired'))
        a.agent.signal('SIGTERM')
        const released = await scene.watch.next('the release', ({ holder }) => holder === '', 1)
        assert.ok(released.at > scene.lastBeat('a'))
        await b.agent.event('serving')
        return `${Object.keys(outcomes).length - attempts.length} signals and ${attempts.length} other attempts changed nothing; handed over afterwards`
      },
    )

    faultTest(
      `a flow kills tini${also}` as const,
      () => plane,
      async (scene) => {
        const [a, b] = await pair(scene, prepared)
        const launcher = a.launcherPid()
        const tini = [...readProcesses().values()].find(({ ppid }) => ppid === launcher) ?? assert.fail()
        const killed = mono()
        process.kill(tini.pid, 'SIGKILL')
        const draining = await a.agent.event('draining')
        assert.match(draining.reason ?? '', /tini, was killed/)
        const released = await scene.watch.next('the release', ({ holder }) => holder === '', 1)
        assert.ok(released.at > scene.lastBeat('a'))
        assert.equal((await a.container.exited).code, 1)
        await b.agent.event('serving')
        return `released ${seconds(released.at - killed)}, another acted ${seconds(scene.firstBeat('b') - killed)} after the kill; the container ended`
      },
    )
  }
})

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { describe } from 'node:test'
import type { ReplicaOptions } from '../harness/replica.ts'
import { mono } from '../harness/wait.ts'
import { warmLangflow } from '../harness/warm-langflow.ts'
import { AS_LANGFLOW, ATTACK_PROCESS, installPrograms } from '../hostile/hostile-scene.ts'
import { type FaultScene, faultTests, type LinkedPod, seconds } from './scene.ts'

const fault = faultTests()

type Outcomes = Readonly<Record<string, string>>

/** What a process of LangFlow's user does in its container to the process that has this pid there. */
async function attack(pod: LinkedPod, pid: number): Promise<Outcomes> {
  const where = ['--target', String(pod.launcherPid()), '--pid', '--mount']
  const command = [...where, ...AS_LANGFLOW, '/usr/bin/python3', ATTACK_PROCESS, String(pid)]
  const child = spawn('nsenter', command, { stdio: ['ignore', 'pipe', 'inherit'] })
  return JSON.parse(await text(child.stdout)) as Outcomes
}

async function pair(scene: FaultScene, prepared: boolean): Promise<[leader: LinkedPod, follower: LinkedPod]> {
  const options: Partial<ReplicaOptions> = {
    ...(prepared ? warmLangflow(scene.dir, { kind: 'tree' }) : {}),
    programs: installPrograms(scene.dir),
    entry: AS_LANGFLOW,
  }
  chmodSync(scene.dir, 0o777)
  const a = await scene.leader('a', options)
  const b = await scene.follower('b', options)
  if (prepared) assert.equal((await b.agent.event('standby_ready')).mode, 'warm')
  return [a, b]
}

describe('a flow', { concurrency: 2 }, () => {
  for (const prepared of [false, true]) {
    const also = prepared ? ', and the standby is prepared' : ''
    fault(`a flow attacks its launcher${also}` as const, async (scene) => {
      const [a, b] = await pair(scene, prepared)
      const pids = scene.processes('a')
      const { debugger: answer, state, ...outcomes } = await attack(a, 1)
      assert.deepEqual([answer, /^[RS]$/.test(state ?? '')], ['ECONNREFUSED', true])
      const attempts = Object.entries(outcomes).filter(([what]) => !what.startsWith('kill '))
      for (const [what, outcome] of attempts) assert.match(outcome, /^E(ACCES|PERM)$/, what)
      await scene.nextRecord(1)
      assert.deepEqual(scene.processes('a'), pids)
      assert.ok(!a.agent.events().includes('doubt') && !b.agent.events().includes('acquired'))
      a.agent.signal('SIGTERM')
      await scene.handedOver(a, b)
      return `${Object.keys(outcomes).length - attempts.length} signals and ${attempts.length} other attempts changed nothing; handed over afterwards`
    })

    fault(`a flow kills tini${also}` as const, async (scene) => {
      const [a, b] = await pair(scene, prepared)
      const tini = a.tree()?.tini ?? assert.fail()
      const killed = mono()
      process.kill(tini.pid, 'SIGKILL')
      const draining = await a.agent.event('draining')
      assert.match(draining.reason ?? '', /tini, was killed/)
      const { released, acted } = await scene.handedOver(a, b)
      assert.equal((await a.container.exited).code, 1)
      return `released ${seconds(released - killed)}, another acted ${seconds(acted - killed)} after the kill; the container ended`
    })
  }
})

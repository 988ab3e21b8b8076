import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { NAMESPACE, podObstacle } from '../harness/pod.ts'
import { AS_LANGFLOW, ATTACK_PROCESS, asLangflow, HostileScene, installPrograms } from './hostile-scene.ts'

type Outcomes = Readonly<Record<string, string>>

describe('a flow against the process that is its launcher', () => {
  test('that tells it to end, as the kubelet does, is handed over in order', async (t) => {
    const hostile = await HostileScene.open(t, asLangflow)
    if (hostile === undefined) return
    const { leader, follower } = hostile
    await hostile.attack('tellToEnd').catch(() => {})
    assert.equal((await leader.agent.event('draining')).reason, 'the LangFlow container is ending')
    await leader.agent.event('released')
    await follower.agent.event('serving')
    assert.equal((await leader.container.exited).code, 0)
  })

  test('that kills tini ends its own term: all of it dies, another serves, and the container ends', async (t) => {
    const hostile = await HostileScene.open(t, asLangflow)
    if (hostile === undefined) return
    const { leader, follower, scene } = hostile
    await hostile.attack('killTini').catch(() => {})
    const draining = await leader.agent.event('draining')
    assert.match(draining.reason ?? '', /tini, was killed \(SIGKILL\)/)
    await follower.agent.event('serving')
    assert.equal((await leader.container.exited).code, 1)
    assert.equal(scene.holder(), 'b')
    // As the kubelet does.
    const from = leader.agent.lines.length
    leader.startContainer()
    await leader.agent.find('its new launcher', ({ msg }) => /^launcher connected/.test(msg), from)
  })

  test('finds nothing of LangFlow’s variables in effect in it, and LangFlow has them as they were', async (t) => {
    const given = {
      NODE_OPTIONS: '--max-http-header-size=12345',
      NODE_REPL_EXTERNAL_MODULE: '/nowhere',
      NODE_EXTRA_CA_CERTS: '/nowhere.pem',
      LD_LIBRARY_PATH: '/nowhere',
      LD_PRELOAD: '/nowhere.so',
      UV_THREADPOOL_SIZE: '1',
    }
    const hostile = await HostileScene.open(t, asLangflow, given)
    if (hostile === undefined) return
    const { leader } = hostile
    const variables = (pid: number) => readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0')
    const launcher = variables(leader.launcherPid()).filter(
      (one) => !/^(LANGFLOW_LEADER|LEADER)_|^$/.test(one),
    )
    assert.deepEqual(launcher, [])
    const agent = variables(leader.agent.pid)
    for (const name of ['NODE_OPTIONS', 'NODE_REPL_EXTERNAL_MODULE', 'LD_LIBRARY_PATH', 'LD_PRELOAD'])
      assert.ok(!agent.some((one) => one.startsWith(`${name}=`)), name)
    const { pid } = (await hostile.leader.status()).workload
    const langflow = variables(leader.hostPid(pid as number))
    for (const [name, value] of Object.entries(given)) assert.ok(langflow.includes(`${name}=${value}`), name)
  })
})

test('the same attacks succeed on a node as 0.1 had it: below tini, readable, with its usual signals', (t) => {
  const obstacle = podObstacle()
  if (obstacle !== undefined || process.getuid?.() !== 0) {
    t.skip(obstacle ?? 'not root')
    return
  }
  const dir = mkdtempSync(join(tmpdir(), 'attack-'))
  t.after(() => rmSync(dir, { recursive: true }))
  chmodSync(dir, 0o755)
  const programs = installPrograms(dir)
  chmodSync(join(programs, 'node'), 0o755)
  const attacked = (kind: string) => {
    const script = `
      "$0" -e 'setInterval(() => {}, 1000)' & node=$!
      until [ -n "$(ls /proc/$node/task 2>/dev/null | tail -n +5)" ]; do :; done
      "$1" ${ATTACK_PROCESS} $node ${kind}
      kill -KILL $node`
    const [unshare, ...args] = [
      'unshare',
      ...NAMESPACE,
      '--net',
      'sh',
      '-c',
      'ip link set lo up; exec "$@"',
      'sh',
    ]
    const command = [
      ...AS_LANGFLOW,
      join(programs, 'tini'),
      '--',
      'sh',
      '-c',
      script,
      join(programs, 'node'),
      '/usr/bin/python3',
    ]
    const { stdout, stderr } = spawnSync(unshare as string, [...args, ...command], { encoding: 'utf8' })
    assert.ok(stdout !== '', stderr)
    return JSON.parse(stdout) as Outcomes
  }
  assert.match(attacked('debugger').debugger ?? '', /^200 [\s\S]*"Browser": "node.js/)
  assert.deepEqual(attacked('memory'), {
    process_vm_readv: 'done',
    process_vm_writev: 'done',
    seize: 'done',
  })
  assert.equal(attacked('descriptors').pidfd_getfd, 'done')
  const files = attacked('files')
  for (const name of ['mem', 'environ', 'maps', 'fd', 'exe']) assert.equal(files[name], 'done', name)
})

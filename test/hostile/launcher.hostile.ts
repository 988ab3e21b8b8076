import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { NAMESPACE } from '../harness/pod.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import {
  AS_LANGFLOW,
  ATTACK_PROCESS,
  asLangflow,
  HostileScene,
  installPrograms,
  skip,
} from './hostile-scene.ts'

type Outcomes = Readonly<Record<string, string>>

test('the launcher and the agent run without LangFlow’s variables, and LangFlow gets them unchanged', {
  skip,
}, async (t) => {
  const given = {
    NODE_OPTIONS: '--max-http-header-size=12345',
    NODE_REPL_EXTERNAL_MODULE: '/nowhere',
    NODE_EXTRA_CA_CERTS: '/nowhere.pem',
    LD_LIBRARY_PATH: '/nowhere',
    LD_PRELOAD: '/nowhere.so',
    UV_THREADPOOL_SIZE: '1',
  }
  const hostile = await HostileScene.open(t, asLangflow, given)
  const { leader } = hostile
  const variables = (pid: number) => readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0')
  const launcher = variables(leader.launcherPid()).filter((one) => !/^(LANGFLOW_LEADER|LEADER)_|^$/.test(one))
  assert.deepEqual(launcher, [])
  const agent = variables(leader.agent.pid)
  for (const name of ['NODE_OPTIONS', 'NODE_REPL_EXTERNAL_MODULE', 'LD_LIBRARY_PATH', 'LD_PRELOAD'])
    assert.ok(!agent.some((one) => one.startsWith(`${name}=`)), name)
  const { pid } = (await hostile.leader.status()).workload
  const langflow = variables(leader.hostPid(pid as number))
  for (const [name, value] of Object.entries(given)) assert.ok(langflow.includes(`${name}=${value}`), name)
})

test('the attacks on the launcher succeed against an unprotected Node: below tini, readable, with its default signals', {
  skip: skip || (process.getuid?.() === 0 ? false : 'not root'),
}, () => {
  const dir = temporaryDirectory()
  chmodSync(dir, 0o755)
  const programs = installPrograms(dir)
  chmodSync(join(programs, 'node'), 0o755)
  const attacked = (kind: string) => {
    const script = `
      "$0" -e 'setInterval(() => {}, 1000)' & node=$!
      until [ -n "$(ls /proc/$node/task 2>/dev/null | tail -n +5)" ]; do :; done
      /usr/bin/python3 ${ATTACK_PROCESS} $node ${kind}
      kill -KILL $node`
    const isolated = [...NAMESPACE, '--net', 'sh', '-c', 'ip link set lo up; exec "$@"', 'sh']
    const command = [join(programs, 'tini'), '--', 'sh', '-c', script, join(programs, 'node')]
    const { stdout, stderr } = spawnSync('unshare', [...isolated, ...AS_LANGFLOW, ...command], {
      encoding: 'utf8',
    })
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

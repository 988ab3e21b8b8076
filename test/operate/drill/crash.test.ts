import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { ApiError } from '../../../agent/kube/errors.ts'
import type { Executed } from '../../../agent/kube/objects.ts'
import {
  agentVictim,
  kill,
  killAgent,
  killWorker,
  rehearse,
  workerVictim,
} from '../../../agent/operate/drill/crash.ts'
import type { Hands } from '../../../agent/operate/drill/hands.ts'
import { asOperationError } from '../../../agent/operate/exit-codes.ts'
import { readStat } from '../../../agent/processes/proc.ts'
import { freePort } from '../../harness/free-port.ts'
import { until } from '../../harness/wait.ts'
import { podOf } from './scripted-stage.ts'

const TREE = join(import.meta.dirname, '../../launcher/fixtures/served-tree.mjs')
const pod = podOf('langflow-0')

/** As it is run in a pod: its text, by another Node. */
const evaluate = (script: string) => promisify(execFile)(process.execPath, ['--eval', script])

const gone = (pid: number) =>
  until(`the end of ${pid}`, () => ['Z', undefined].includes(readStat(pid)?.state))

describe("LangFlow's worker", () => {
  async function served(t: TestContext) {
    const port = await freePort()
    const tree = spawn(process.execPath, [TREE, String(port)], { detached: true, stdio: 'ignore' })
    t.after(() => process.kill(-tree.pid!, 'SIGKILL'))
    let answer = null as Response | null
    await until(`an answer on port ${port}`, async () => {
      answer = await fetch(`http://127.0.0.1:${port}`).catch(() => null)
      return answer !== null
    })
    return { port, ...((await answer!.json()) as { worker: number; master: number; parent: number }) }
  }

  test('is killed, and what it was forked from is not', async (t) => {
    const { port, worker, master, parent } = await served(t)
    assert.equal((await evaluate(`(${killWorker})(${port})`)).stdout, `killing ${worker}\n`)
    await gone(worker)
    for (const pid of [master, parent]) assert.match(readStat(pid)?.state ?? '', /[RSD]/)
  })

  test('is not there where nobody accepts connections', async () => {
    await assert.rejects(evaluate(`(${killWorker})(${await freePort()})`), {
      message: /Error: nobody accepts connections on port \d+/,
    })
  })

  test('is looked for by the node beside its launcher, on the port that the agent watches', () => {
    assert.deepEqual(workerVictim(pod), {
      container: 'langflow',
      node: '/opt/langflow-leader/node',
      script: `(${killWorker})(7860)`,
    })
    const told = structuredClone(pod) as ReturnType<typeof podOf>
    const [, agent] = (told.spec as { initContainers: { env: object[] }[] }).initContainers
    agent?.env.push({ name: 'LEADER_TARGET', value: 'http://127.0.0.1:8000' })
    assert.equal(workerVictim(told).script, `(${killWorker})(8000)`)
    Object.assign(agent ?? {}, { args: ['agent', '--target', 'http://127.0.0.1:8001'] })
    assert.equal(workerVictim(told).script, `(${killWorker})(8001)`)
  })
})

describe('the agent', () => {
  test('is the child of the first process of its container', async (t) => {
    // The first prints its child's pid, and takes its end for nothing.
    const child = 'setInterval(() => {}, 1e6)'
    const first = spawn(process.execPath, [
      '--eval',
      `console.log(require('node:child_process').spawn(process.execPath, ['--eval', ${JSON.stringify(child)}]).pid)
       setInterval(() => {}, 1e6)`,
    ])
    t.after(() => first.kill('SIGKILL'))
    const [line] = await once(first.stdout, 'data')
    const pid = Number(line)
    assert.equal((await evaluate(`(${killAgent})(${first.pid})`)).stdout, `killing ${pid}\n`)
    await gone(pid)
  })

  test('is run by the node of its image', () => {
    assert.deepEqual(agentVictim(pod), {
      container: 'agent',
      node: '/usr/lib/langflow-leader/node',
      script: `(${killAgent})()`,
    })
  })
})

test('a pod in which agent and LangFlow share a container has neither', () => {
  const single = {
    ...pod,
    spec: { containers: [{ name: 'langflow', command: ['node', 'x.mjs', 'run', '--'] }] },
  }
  for (const find of [agentVictim, workerVictim])
    assert.throws(() => find(single), {
      code: 'impossible',
      message: /^no container of langflow-0 .*: drill another scenario$/,
    })
})

describe('what a command in a container comes to', () => {
  const victim = agentVictim(pod)
  const handsThatSay = (executed: Partial<Executed>): Hands => ({
    pod: async () => pod,
    remove: async () => {},
    execute: async () => ({ exitCode: 1, stdout: '', stderr: '', ...executed }),
  })

  test('a container that ended with what was killed has said so before', async () => {
    const said = await kill(handsThatSay({ exitCode: null, stdout: 'killing 8\n' }), pod, victim)
    assert.equal(said, 'pid 8, SIGKILL')
  })

  test('one that ended without a word, or of whose end nothing is heard, may have killed', async () => {
    for (const exitCode of [null, 137])
      assert.equal(
        await kill(handsThatSay({ exitCode }), pod, victim),
        'SIGKILL; whether it came is not known: the command ended before it said so',
      )
    const silent = (mayHaveCommitted: boolean): Hands => ({
      ...handsThatSay({}),
      execute: async () => {
        throw asOperationError(new ApiError('network', 'it did not end', { mayHaveCommitted }))
      },
    })
    assert.equal(
      await kill(silent(true), pod, victim),
      'SIGKILL; whether it came is not known: it did not end',
    )
    await assert.rejects(kill(silent(false), pod, victim), { code: 'unreachable', message: 'it did not end' })
  })

  test('one that killed nothing says why', async () => {
    const hands = handsThatSay({ stderr: 'at x\nError: no process is the child of the first one\n' })
    await assert.rejects(kill(hands, pod, victim), {
      code: 'failed',
      message:
        'nothing was killed in langflow-0, container agent: Error: no process is the child of the first one',
    })
  })

  test('one that cannot run its node at all is known before', async () => {
    await rehearse(handsThatSay({ exitCode: 0 }), pod, victim)
    await assert.rejects(rehearse(handsThatSay({ exitCode: 127, stderr: 'no such file' }), pod, victim), {
      code: 'impossible',
      message:
        '/usr/lib/langflow-leader/node cannot be run in the container agent of langflow-0 (no such file)',
    })
  })
})

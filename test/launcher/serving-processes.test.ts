import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { closeSync, copyFileSync, existsSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { CUT_OFF } from '../../agent/launcher/langflow-command.ts'
import { ServingProcesses } from '../../agent/launcher/serving-processes.ts'
import { isDead, readStat } from '../../agent/processes/proc.ts'
import { createProcessTree } from '../../agent/processes/process-tree.ts'
import { freePort } from '../harness/free-port.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { until } from '../processes/fixtures/family.ts'

const TREE = join(import.meta.dirname, 'fixtures', 'served-tree.mjs')
const FORKED = join(import.meta.dirname, 'fixtures', 'forked-tree.py')
const NEVER_MS = '3600000'

interface Served {
  readonly worker: number
  readonly master: number
  readonly parent: number
}

/** A real workload whose serving processes are watched by a clock that the test moves. */
async function serve(command: (port: number) => readonly string[]) {
  const port = await freePort()
  const marker = { name: 'LANGFLOW_LEADER_TREE', value: randomUUID() }
  const tree = createProcessTree({ marker, clock: systemClock, alone: false })
  const { pid: child } = await tree.start(command(port), process.env, () => {})
  const clock = new VirtualClock()
  const notes: string[] = []
  const watch = { port, child, clock, note: (_: string, text: string) => notes.push(text) }
  const serving = new ServingProcesses(watch)
  return {
    tree,
    child,
    clock,
    notes,
    serving,
    /** Who answers on a new connection, once somebody does. */
    async ask(): Promise<Served> {
      for (;;) {
        const answer = await fetch(`http://127.0.0.1:${port}`, { headers: { connection: 'close' } }).catch(
          () => undefined,
        )
        if (answer !== undefined) return (await answer.json()) as Served
      }
    },
    /** As many different workers as there are to be. */
    async workers(count: number): Promise<Served[]> {
      const seen = new Map<number, Served>()
      while (seen.size < count) {
        const one = await this.ask()
        seen.set(one.worker, one)
      }
      return [...seen.values()]
    },
    /** Lets the time until the next search pass. */
    async search(): Promise<void> {
      await clock.pass(10_000)
      assert.equal(serving.check(), null)
    },
    [Symbol.asyncDispose]: async () => void (await tree.kill(20_000)),
  }
}

const treeOf =
  (...options: string[]) =>
  (port: number) => [process.execPath, TREE, String(port), ...options]

async function end(pid: number, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  process.kill(pid, signal)
  await until(`${pid} to be gone`, () => {
    const stat = readStat(pid)
    return stat === undefined || isDead(stat)
  })
}

test('the loss of the only worker is told once, although the master has a new one that does not accept yet', async () => {
  await using served = await serve(treeOf('1', NEVER_MS))
  const { worker, master, parent } = await served.ask()
  await served.search()
  assert.deepEqual(served.notes, [`LangFlow is served by pid ${worker}, beneath pid ${master}, ${parent}`])
  await end(worker)
  await until('another worker', () =>
    served.tree.alive().some(({ pid }) => pid !== worker && readStat(pid)?.ppid === master),
  )
  assert.deepEqual(served.serving.check(), { role: 'worker', pids: [worker] })
  await served.search()
})

test('the loss of the master is told, although its worker serves on', async () => {
  await using served = await serve(treeOf())
  const { worker, master } = await served.ask()
  await served.search()
  await end(master)
  assert.equal((await served.ask()).worker, worker)
  assert.deepEqual(served.serving.check(), { role: 'master', pids: [master] })
  await served.search()
})

test('of several workers one may end, and it is noted; the last one is a loss', async () => {
  await using served = await serve(treeOf('2', NEVER_MS))
  const [first, second] = (await served.workers(2)) as [Served, Served]
  await served.search()
  await end(first.worker)
  assert.equal(served.serving.check(), null)
  assert.equal(
    served.notes.at(-1),
    `LangFlow lost its worker (pid ${first.worker}); pid ${second.worker} goes on serving`,
  )
  await end(second.worker)
  assert.deepEqual(served.serving.check(), { role: 'worker', pids: [second.worker] })
})

test('a worker that joined replaces one that is recycled', async () => {
  await using served = await serve(treeOf('2', '0'))
  const before = await served.workers(2)
  await served.search()
  await end(before[0]!.worker, 'SIGTERM')
  assert.equal(served.serving.check(), null)
  const after = await served.workers(2)
  await end(before[1]!.worker, 'SIGTERM')
  assert.equal(served.serving.check(), null)
  const joined = after.find(({ worker }) => worker !== before[1]!.worker)!
  assert.match(served.notes.at(-1)!, new RegExp(`; pid .*\\b${joined.worker}\\b.* goes on serving$`))
})

test('while it cannot be told what lives nothing is lost, and a loss is told once it can', async (t) => {
  const open = () => openSync('/dev/null', 'r')
  const limited = spawnSync('prlimit', [`--pid=${process.pid}`, '--nofile=256:'])
  if (limited.status !== 0) return t.skip('prlimit, which limits open files, is not installed')
  await using served = await serve(treeOf('1', NEVER_MS))
  const { worker } = await served.ask()
  await served.search()
  await end(worker)
  const files: number[] = []
  assert.throws(() => {
    for (;;) files.push(open())
  }, /EMFILE/)
  const blind = served.serving.check()
  for (const file of files) closeSync(file)
  assert.equal(blind, null)
  await served.clock.pass(1_000)
  assert.deepEqual(served.serving.check(), { role: 'worker', pids: [worker] })
})

test('what is stopped is not lost', async () => {
  await using served = await serve(treeOf())
  await served.ask()
  await served.search()
  served.tree.freeze()
  assert.equal(served.serving.check(), null)
  served.tree.thaw()
  assert.equal(served.serving.check(), null)
})

test('nothing is lost that has not served yet', async () => {
  await using served = await serve(treeOf('0'))
  await until('a master', () => served.tree.alive().length === 2)
  await served.search()
  await end(served.tree.alive().find(({ pid }) => pid !== served.child)!.pid)
  await served.search()
  assert.deepEqual(served.notes, [])
})

test('of a single process, which listens on all addresses, the end is not told here', async () => {
  await using served = await serve((port) => [
    process.execPath,
    '-e',
    `require('http').createServer((_, r) => r.end('{}')).listen(${port})`,
  ])
  await served.ask()
  await served.search()
  assert.deepEqual(served.notes, [`LangFlow is served by pid ${served.child}`])
  await end(served.child)
  assert.equal(served.serving.check(), null)
})

const skip = spawnSync('python3', ['--version']).status !== 0 && 'there is no python3, which can fork'

test('a helper that a worker forked is no worker, although it has the same files open', {
  skip,
}, async () => {
  await using served = await serve((port) => ['python3', FORKED, 'run', String(port), '/dev/null', 'helped'])
  const living = () => served.tree.alive().map(({ pid }) => pid)
  await until('a helper', () => served.tree.alive().filter(({ comm }) => comm === 'python3').length === 4)
  const childOf = (parent: number) => living().find((pid) => readStat(pid)?.ppid === parent) as number
  const master = childOf(served.child)
  const worker = childOf(master)
  const helper = childOf(worker)
  await served.search()
  assert.deepEqual(served.notes, [
    `LangFlow is served by pid ${worker}, beneath pid ${master}, ${served.child}`,
  ])
  await end(worker)
  assert.ok(living().includes(helper))
  assert.deepEqual(served.serving.check(), { role: 'worker', pids: [worker] })
})

describe('a workload that was told to end', { skip }, () => {
  /** It serves. `program` is what the script is called. */
  async function serves(t: TestContext, program: string, wrap = (command: string[]) => command) {
    const dir = mkdtempSync(join(tmpdir(), 'ending-'))
    const file = join(dir, 'written')
    const script = join(dir, program)
    copyFileSync(FORKED, script)
    const served = await serve((port) => wrap(['python3', script, 'run', String(port), file]))
    t.after(async () => {
      await served[Symbol.asyncDispose]()
      rmSync(dir, { recursive: true })
    })
    await until('it serves', () => {
      void served.clock.pass(1_000)
      served.serving.check()
      return served.notes.some((note) => note.startsWith('LangFlow is served'))
    })
    return { ...served, file }
  }

  async function ending(...args: Parameters<typeof serves>) {
    const served = await serves(...args)
    const { file } = served
    served.serving.finish()
    assert.ok(served.tree.alive().length >= 3, 'nothing is ended that serves')
    served.tree.terminate()
    const written = () => existsSync(file)
    await until('the worker has written', () => {
      served.serving.finish()
      return written()
    })
    return served
  }

  test('is over once its worker has ended, which had the time it needed', async (t) => {
    const { tree, serving } = await ending(t, 'langflow')
    await until('nothing of it lives', () => {
      serving.finish()
      return tree.alive().length === 0
    })
  })

  test('is left alone where it is not LangFlow', async (t) => {
    const { tree, serving } = await ending(t, 'another')
    await until('the worker has ended', () => tree.alive().length === 2)
    serving.finish()
    assert.equal(tree.alive().length, 2)
  })

  test('hears that it is to cut off what it does, but only its workers, and where they can', async (t) => {
    for (const [script, hears] of [
      [CUT_OFF, true],
      ['', false],
    ] as const) {
      const { tree, serving } = await serves(t, 'langflow', (command) => [...command, script])
      const before = tree.alive().length
      assert.equal(serving.cutOff(), hears)
      if (hears) await until('the worker has ended', () => tree.alive().length < before)
      assert.equal(tree.alive().length, hears ? before - 1 : before)
    }
  })

  test('is left alone where it was not forked: a shell around it may have more to do', async (t) => {
    const { tree, serving, child } = await ending(t, 'langflow', (command) => [
      'sh',
      '-c',
      `trap : TERM; ${command.join(' ')}; sleep 600`,
    ])
    await until('LangFlow has ended', () => {
      serving.finish()
      return tree.alive().every(({ comm }) => comm !== 'python3')
    })
    assert.ok(tree.alive().some(({ pid }) => pid === child))
  })
})
